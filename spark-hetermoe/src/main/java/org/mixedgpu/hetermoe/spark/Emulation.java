package org.mixedgpu.hetermoe.spark;

import java.io.Serializable;
import java.util.Locale;
import java.util.Map;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.emulated.EmulatedBackend;
import org.mixedgpu.backend.emulated.Slowdown;
import org.mixedgpu.base.Check;
import org.mixedgpu.device.GenerationGap;
import org.mixedgpu.hetermoe.spark.device.ChosenCatalogue;
import org.mixedgpu.io.FileStore;

/**
 * Which members pretend to be how much slower: those of the older generation, as the catalogue says
 * of two cards that were measured. What is neither attention nor a matrix product has no measured
 * factor; it is taken to be as far apart as experts.
 *
 * @param generation the slower one; empty for no emulation
 * @param attention times slower
 * @param experts times slower
 * @param cards what was measured, for the log
 */
record Emulation(String generation, double attention, double experts, String cards)
    implements Serializable {
  static final Emulation NONE = new Emulation("", 1, 1, "");

  static Emulation of(HeterMoeParams p, Map<String, String> settings, FileStore store) {
    if (p.value(TrainOptions.EMULATE).equals("none")) {
      return NONE;
    }
    String newer = generation(p.value(TrainOptions.ATTENTION_RESOURCE));
    String older = generation(p.value(TrainOptions.EXPERT_RESOURCE));
    Check.input(
        !newer.equals(older),
        "emulate=catalogue needs two generations; both resources are gpu-%s",
        newer);
    GenerationGap gap =
        ChosenCatalogue.read(HeterMoeConf.GPU_CATALOGUE.read(settings), store)
            .gap(newer, older, Math.toIntExact(p.value(TrainOptions.SEQUENCE_LENGTH)));
    return new Emulation(
        older,
        gap.attention().value(),
        gap.experts().value(),
        gap.slowerCard() + " behind " + gap.fasterCard());
  }

  private static String generation(String resource) {
    return resource.replaceFirst("^gpu-", "");
  }

  /** The backend of a member of this generation; closing it closes the given one. */
  TrainingBackend slowed(TrainingBackend backend, String memberGeneration) {
    return memberGeneration.equals(generation)
        ? new EmulatedBackend(backend, generation, new Slowdown(attention, experts, experts))
        : backend;
  }

  String summary() {
    return generation.isEmpty()
        ? ""
        : String.format(
            Locale.ROOT,
            "; %s is emulated as %s: attention %.2f times, everything else %.2f times slower",
            generation,
            cards,
            attention,
            experts);
  }
}
