package org.mixedgpu.base;

import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import java.util.function.Predicate;

/**
 * One setting, said once: key, unit, default, meaning and limits. The default passes through the
 * same check as a user's text, so a default out of range can't be released.
 *
 * @param key the whole key, such as {@code spark.hetermoe.backend}
 * @param unit what the value counts, such as {@code ms} or {@code threads}; {@code ""} for names
 * @param byDefault the value where the key is not set, as text
 * @param doc what it does and when to change it, in whole sentences
 * @param parse from text; any exception means that the text can't be read
 * @param holds the limits
 * @param rule the limits in words, completing "use ..."
 */
public record ConfEntry<T>(
    String key,
    String unit,
    String byDefault,
    String doc,
    Function<String, T> parse,
    Predicate<T> holds,
    String rule) {

  public ConfEntry {
    value(key, byDefault, parse, holds, rule);
  }

  /** The value that these settings give, or the default. */
  public T read(Map<String, String> settings) {
    return value(settings.get(key));
  }

  /** The value of this text; the default where it is null. */
  public T value(String text) {
    return value(key, text == null ? byDefault : text.strip(), parse, holds, rule);
  }

  /** The key as a command line spells it: {@code --chunk-tokens} for {@code chunkTokens}. */
  public String flag() {
    return "--" + key.replaceAll("([A-Z])", "-$1").toLowerCase(Locale.ROOT);
  }

  /** Meaning, unit, limits and an example in one text. */
  public String help(String example) {
    String counts = unit.isEmpty() ? "" : " Unit: " + unit + ".";
    return doc + counts + " Use " + rule + ". Example: " + example + ".";
  }

  private static <T> T value(
      String key, String text, Function<String, T> parse, Predicate<T> holds, String rule) {
    T value;
    try {
      value = parse.apply(text);
    } catch (RuntimeException e) {
      throw new MixedGpuException(
          Fault.BAD_INPUT, key + ": '" + text + "' can't be read; use " + rule, e);
    }
    Check.input(holds.test(value), "%s: '%s' is out of range; use %s", key, text, rule);
    return value;
  }

  /** A whole number within limits, both included. */
  public static ConfEntry<Long> number(
      String key, String unit, long byDefault, long least, long most, String doc) {
    return new ConfEntry<>(
        key,
        unit,
        Long.toString(byDefault),
        doc,
        Long::valueOf,
        n -> n >= least && n <= most,
        "a whole number of " + unit + " from " + least + " to " + most);
  }

  /** A real number from {@code least} to below {@code below}. */
  public static ConfEntry<Double> real(
      String key, String unit, double byDefault, double least, double below, String doc) {
    String rule =
        below == Double.POSITIVE_INFINITY
            ? "a number of " + least + " or more"
            : "a number from " + least + " to below " + below;
    return new ConfEntry<>(
        key,
        unit,
        Double.toString(byDefault),
        doc,
        Double::valueOf,
        x -> x >= least && x < below,
        rule);
  }

  /** One of some words; the first is the default. */
  public static ConfEntry<String> choice(String key, String doc, String... words) {
    List<String> known = List.of(words);
    return new ConfEntry<>(
        key, "", words[0], doc, s -> s, known::contains, String.join(" or ", known));
  }

  /** Free text; may be empty. */
  public static ConfEntry<String> text(String key, String byDefault, String doc) {
    return new ConfEntry<>(key, "", byDefault, doc, s -> s, s -> true, "text");
  }
}
