package org.mixedgpu.backend.cuda;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/**
 * A kernel file for one generation and type: the text and the options that the compiler gets.
 *
 * @param file name of the resource without {@code .cu}, such as {@code attention.sm90}
 * @param text the prelude and the file
 * @param options the compiler's
 */
record KernelSource(String file, String text, List<String> options) {
  private static final String FOLDER = "/org/mixedgpu/kernels/";

  private static final Pattern TARGET = Pattern.compile("--gpu-architecture=sm_(\\d+)(a?)");

  /** A header that several variants of an op share. */
  private static final Pattern INCLUDE =
      Pattern.compile("^#include \"([a-z0-9_]+\\.cuh)\"\n", Pattern.MULTILINE);

  /**
   * Reads a resource.
   *
   * @param arch the device's compute capability times ten, such as 90
   * @param type F32, BF16 or F16: what T is
   * @param defines such as {@code HEAD=128}
   */
  static KernelSource of(String file, int arch, DType type, List<String> defines) {
    Check.that(type != DType.I32, "Kernels compute in F32, BF16 or F16");
    int lowest = lowestArch(file);
    Check.that(
        arch >= lowest && (lowest < 90 || arch == lowest),
        "%s.cu is not for compute capability %d.%d",
        file,
        arch / 10,
        arch % 10);
    List<String> options = new ArrayList<>();
    // From 9.0 on the instructions that make a variant worth it are of that one capability.
    options.add("--gpu-architecture=sm_" + arch + (lowest >= 90 ? "a" : ""));
    options.add("--std=c++17");
    options.add("-DARCH=" + arch);
    options.add("-DT_" + type);
    defines.forEach(define -> options.add("-D" + define));
    String text = resource("prelude.cuh") + line(1, file + ".cu") + included(file + ".cu");
    return new KernelSource(file, text, List.copyOf(options));
  }

  /**
   * The same for any card of this generation or a later one, whose driver finishes it.
   *
   * @param lowest compute capability times ten that the compiler knows: what is for an older one,
   *     keeps its instructions, but cards older than this don't run it
   */
  KernelSource portable(int lowest) {
    return new KernelSource(
        file,
        text,
        options.stream()
            .map(option -> TARGET.matcher(option).replaceFirst(found -> virtual(found, lowest)))
            .toList());
  }

  private static String virtual(MatchResult target, int lowest) {
    int arch = Math.max(Integer.parseInt(target.group(1)), lowest);
    return "--gpu-architecture=compute_" + arch + target.group(2);
  }

  boolean isPortable() {
    return options.stream().anyMatch(option -> option.contains("=compute_"));
  }

  /** The suffix of a variant such as {@code attention.sm90}; 70 where there is none. */
  static int lowestArch(String file) {
    int at = file.lastIndexOf(".sm");
    return at < 0 ? 70 : Integer.parseInt(file.substring(at + 3));
  }

  /** A file with what it includes in its place, so that the text alone says what is compiled. */
  private static String included(String name) {
    String text = resource(name);
    return INCLUDE
        .matcher(text)
        .replaceAll(
            found -> {
              long lines = text.substring(0, found.start()).lines().count();
              String header = found.group(1);
              return Matcher.quoteReplacement(
                  line(1, header) + resource(header) + line(lines + 2, name));
            });
  }

  /** So that the compiler's messages name the file that is meant. */
  private static String line(long number, String file) {
    return "\n#line " + number + " \"" + file + "\"\n";
  }

  private static String resource(String name) {
    try (InputStream in = KernelSource.class.getResourceAsStream(FOLDER + name)) {
      if (in == null) {
        throw new MixedGpuException(
            Fault.BUG, "Kernel file " + FOLDER + name + " is not in this jar");
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new MixedGpuException(
          Fault.CORRUPT, "Cannot read " + FOLDER + name + ": " + e.getMessage(), e);
    }
  }
}
