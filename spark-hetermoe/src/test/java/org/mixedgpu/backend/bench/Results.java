package org.mixedgpu.backend.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/**
 * A table of measurements: printed row by row, and with {@code -Dbench.out=FOLDER} also written to
 * NAME.json and NAME.md there, with machine, command, date and commit ({@code -Dbench.commit=}).
 */
public final class Results {
  private final String name;
  private final Map<String, Object> all = new LinkedHashMap<>();
  private final List<Map<String, Object>> rows = new ArrayList<>();
  private final StringBuilder table = new StringBuilder();

  /**
   * @param name of the files
   * @param command that was run
   * @param machine device, driver, versions
   */
  public Results(String name, String command, Map<String, String> machine) {
    this(name, command, machine, "PyTorch");
  }

  /**
   * @param baseline what ours is compared with
   */
  public Results(String name, String command, Map<String, String> machine, String baseline) {
    this.name = name;
    all.put("benchmark", name);
    all.put("command", command);
    all.put("date", Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
    all.put("commit", System.getProperty("bench.commit", "not given"));
    all.put("java", System.getProperty("java.vm.version"));
    all.putAll(machine);
    driver().ifPresent(version -> all.putIfAbsent("driver", version));
    all.forEach((key, value) -> System.out.println(key + ": " + value));
    all.put("baseline", baseline);
    all.put("rows", rows);
    table
        .append("| what | ours | ")
        .append(baseline)
        .append(" | unit | ratio | spread, ours | spread, baseline | notes |\n")
        .append("|---|---|---|---|---|---|---|---|\n");
    System.out.println();
    System.out.print(table);
  }

  /**
   * A speed, the work of one run divided by its time, higher being better.
   *
   * @param theirs null where there is no baseline
   * @param work of one run in the unit, such as 1e-12 times its operations for TFLOP/s
   */
  public void speed(
      String what, Samples ours, Samples theirs, double work, String unit, String notes) {
    double ratio = theirs == null ? Double.NaN : theirs.median() / ours.median();
    add(
        what,
        work / ours.median(),
        theirs == null ? Double.NaN : work / theirs.median(),
        unit,
        ratio,
        ours,
        theirs,
        notes);
  }

  /** A size or a count without repetitions; the ratio is ours by theirs, lower being better. */
  public void size(String what, double ours, double theirs, String unit, String notes) {
    add(what, ours, theirs, unit, ours / theirs, null, null, notes);
  }

  /** Something that could not be measured, and why. */
  public void failed(String what, RuntimeException why) {
    String text = String.valueOf(why.getMessage()).replace('\n', ' ').replace('|', '/');
    add(what, Double.NaN, Double.NaN, "", Double.NaN, null, null, "FAILED: " + text);
  }

  /** The NVIDIA driver's version, where one is loaded. */
  private static Optional<String> driver() {
    Path module = Path.of("/sys/module/nvidia/version");
    try {
      return Files.exists(module)
          ? Optional.of(Files.readString(module).strip())
          : Optional.empty();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void add(
      String what,
      double ours,
      double theirs,
      String unit,
      double ratio,
      Samples ourSamples,
      Samples theirSamples,
      String notes) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("what", what);
    put(row, "ours", ours);
    put(row, "theirs", theirs);
    row.put("unit", unit);
    put(row, "ratio", ratio);
    if (ourSamples != null) {
      row.put("oursSeconds", ourSamples.values());
    }
    if (theirSamples != null) {
      row.put("theirSeconds", theirSamples.values());
    }
    row.put("notes", notes);
    rows.add(row);
    String line =
        String.join(
            " | ",
            "| " + what,
            number(ours),
            number(theirs),
            unit,
            number(ratio),
            percent(ourSamples),
            percent(theirSamples),
            notes + " |");
    System.out.println(line);
    table.append(line).append('\n');
    // After each row, so that a run that is cut off leaves what it has measured.
    write();
  }

  private static void put(Map<String, Object> row, String key, double value) {
    if (!Double.isNaN(value)) {
      row.put(key, value);
    }
  }

  private static String number(double x) {
    if (Double.isNaN(x)) {
      return "–";
    }
    int digits = Math.abs(x) >= 100 ? 0 : Math.abs(x) >= 10 ? 1 : Math.abs(x) >= 0.1 ? 2 : 4;
    return String.format(Locale.ROOT, "%." + digits + "f", x);
  }

  private static String percent(Samples samples) {
    return samples == null ? "–" : String.format(Locale.ROOT, "%.1f %%", 100 * samples.spread());
  }

  private void write() {
    String folder = System.getProperty("bench.out");
    if (folder == null) {
      return;
    }
    StringBuilder text = new StringBuilder("# " + name + "\n\n");
    all.forEach(
        (key, value) -> {
          if (value instanceof String) {
            text.append("- ").append(key).append(": ").append(value).append('\n');
          }
        });
    text.append('\n').append(table);
    try {
      Path out = Files.createDirectories(Path.of(folder));
      ObjectMapper json = new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);
      Files.writeString(
          out.resolve(name + ".json"), json.writeValueAsString(all), StandardCharsets.UTF_8);
      Files.writeString(out.resolve(name + ".md"), text, StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
