package org.mixedgpu.device;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * All cards and generations we have facts about: {@code conf/gpus.json}, which is also in the jar.
 * What is not in it is an error that says so; nothing is guessed from neighbours.
 */
public final class GpuCatalogue {
  private static final int FORMAT = 1;
  private static final String BUILT_IN = "gpus.json";

  private final String source;
  private final Map<String, String> sources = new LinkedHashMap<>();
  private final Map<ComputeCapability, String> generations = new LinkedHashMap<>();
  private final List<GpuSpec> cards = new ArrayList<>();
  private final List<Gap> gaps = new ArrayList<>();

  private record Gap(
      GpuSpec faster, GpuSpec slower, String component, int sequence, Quantity timesSlower) {}

  private GpuCatalogue(String source) {
    this.source = source;
  }

  /** The one in the jar. */
  public static GpuCatalogue builtIn() {
    try (InputStream in = GpuCatalogue.class.getResourceAsStream(BUILT_IN)) {
      Check.that(in != null, "%s is not on the class path", BUILT_IN);
      return read(in, "the built-in " + BUILT_IN);
    } catch (IOException e) {
      throw new MixedGpuException(Fault.CORRUPT, "Cannot read the built-in " + BUILT_IN, e);
    }
  }

  /**
   * Reads a catalogue; the caller closes the stream.
   *
   * @param source for messages, such as the file's path
   */
  public static GpuCatalogue read(InputStream in, String source) {
    GpuCatalogue catalogue = new GpuCatalogue(source);
    try {
      catalogue.fill(new ObjectMapper().readTree(in));
    } catch (IOException e) {
      throw new MixedGpuException(
          Fault.BAD_INPUT, "GPU catalogue " + source + " is not JSON: " + e.getMessage(), e);
    }
    return catalogue;
  }

  private void fill(JsonNode root) {
    int format = need(root, "format").asInt();
    Check.input(
        format == FORMAT,
        "GPU catalogue %s has format %d; this version reads %d",
        source,
        format,
        FORMAT);
    need(root, "sources")
        .fields()
        .forEachRemaining(
            s ->
                sources.put(
                    s.getKey(), text(s.getValue(), "text") + ", " + text(s.getValue(), "url")));
    for (JsonNode generation : need(root, "generations")) {
      for (JsonNode capability : need(generation, "computeCapabilities")) {
        generations.put(ComputeCapability.parse(capability.asText()), text(generation, "name"));
      }
    }
    for (JsonNode card : need(root, "cards")) {
      cards.add(card(card));
    }
    for (JsonNode gap : need(root, "gaps")) {
      gaps.add(
          new Gap(
              card(text(gap, "faster")),
              card(text(gap, "slower")),
              text(gap, "component"),
              need(gap, "sequence").asInt(),
              quantity(gap, "timesSlower", 1)));
    }
  }

  private GpuSpec card(JsonNode card) {
    String name = text(card, "name");
    ComputeCapability capability = ComputeCapability.parse(text(card, "computeCapability"));
    Check.input(
        text(card, "generation").equals(generations.get(capability)),
        "GPU catalogue %s: card %s has generation %s, but its compute capability %s belongs to %s",
        source,
        name,
        text(card, "generation"),
        capability,
        generations.get(capability));
    List<String> smi = new ArrayList<>();
    need(card, "nvidiaSmiNames").forEach(n -> smi.add(n.asText()));
    Map<String, Quantity> peaks = new LinkedHashMap<>();
    JsonNode peak = need(card, "peakTeraflopsPerSecond");
    peak.fieldNames().forEachRemaining(type -> peaks.put(type, quantity(peak, type, 1e12)));
    return new GpuSpec(
        name,
        generations.get(capability),
        capability,
        smi,
        quantity(card, "memoryGib", 1L << 30),
        quantity(card, "memoryGbPerSecond", 1e9),
        peaks,
        card.has("measuredGemmTeraflopsPerSecond")
            ? Optional.of(quantity(card, "measuredGemmTeraflopsPerSecond", 1e12))
            : Optional.empty());
  }

  private Quantity quantity(JsonNode parent, String field, double unit) {
    JsonNode node = need(parent, field);
    String key = text(node, "source");
    Check.input(
        sources.containsKey(key),
        "GPU catalogue %s: %s names source '%s', which is not among %s",
        source,
        field,
        key,
        sources.keySet());
    return new Quantity(need(node, "value").asDouble() * unit, sources.get(key));
  }

  private JsonNode need(JsonNode parent, String field) {
    JsonNode node = parent.get(field);
    Check.input(node != null, "GPU catalogue %s: '%s' is missing in %s", source, field, parent);
    return node;
  }

  private String text(JsonNode parent, String field) {
    return need(parent, field).asText();
  }

  public List<GpuSpec> cards() {
    return List.copyOf(cards);
  }

  /** Generation words, oldest first. */
  public List<String> generations() {
    return generations.values().stream().distinct().toList();
  }

  /** The card of our name. */
  public GpuSpec card(String name) {
    return cards.stream()
        .filter(c -> c.name().equals(name))
        .findFirst()
        .orElseThrow(
            () -> unknown("card '" + name + "'", cards.stream().map(GpuSpec::name).toList()));
  }

  /** The card that {@code nvidia-smi} calls so. */
  public GpuSpec byNvidiaSmiName(String name) {
    return cards.stream()
        .filter(c -> c.nvidiaSmiNames().contains(name))
        .findFirst()
        .orElseThrow(
            () ->
                unknown(
                    "GPU '" + name + "'",
                    cards.stream().flatMap(c -> c.nvidiaSmiNames().stream()).toList()));
  }

  /** The generation word of a compute capability. */
  public String generation(ComputeCapability capability) {
    String generation = generations.get(capability);
    if (generation == null) {
      throw unknown("compute capability " + capability, generations.keySet());
    }
    return generation;
  }

  /** Refuses a word that names no generation. */
  public void checkGeneration(String generation) {
    if (!generations.containsValue(generation)) {
      throw unknown("GPU generation '" + generation + "'", generations());
    }
  }

  /**
   * The measured gap between two generations.
   *
   * @param sequence tokens per sequence, which attention depends on
   */
  public GenerationGap gap(String faster, String slower, int sequence) {
    checkGeneration(faster);
    checkGeneration(slower);
    Optional<Gap> attention =
        find("attention", faster, slower)
            .min(Comparator.comparingDouble(g -> distance(g.sequence(), sequence)));
    Optional<Gap> experts = find("experts", faster, slower).findFirst();
    if (attention.isEmpty() || experts.isEmpty()) {
      throw unknown(
          "gap between " + faster + " and " + slower,
          gaps.stream()
              .map(g -> g.faster().generation() + "/" + g.slower().generation())
              .distinct()
              .toList());
    }
    Gap a = attention.get();
    return new GenerationGap(
        a.faster().name(),
        a.slower().name(),
        a.timesSlower(),
        a.sequence(),
        experts.get().timesSlower());
  }

  private static double distance(int measured, int asked) {
    return Math.abs(Math.log(Math.max(1, measured)) - Math.log(Math.max(1, asked)));
  }

  private java.util.stream.Stream<Gap> find(String component, String faster, String slower) {
    return gaps.stream()
        .filter(
            g ->
                g.component().equals(component)
                    && g.faster().generation().equals(faster)
                    && g.slower().generation().equals(slower));
  }

  private MixedGpuException unknown(String what, Object known) {
    return new MixedGpuException(
        Fault.MISSING,
        "GPU catalogue "
            + source
            + " has no "
            + what
            + "; it knows "
            + known
            + "; add it to a copy of conf/gpus.json with its sources and set"
            + " spark.hetermoe.gpuCatalogue");
  }
}
