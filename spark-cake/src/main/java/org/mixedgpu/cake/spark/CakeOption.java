package org.mixedgpu.cake.spark;

import java.util.List;
import java.util.Locale;
import org.mixedgpu.base.ConfEntry;

/**
 * One option of a prefill, declared once: a param of {@link CakePrefill} and an option of the
 * command line.
 *
 * @param entry name, unit, default, meaning and limits
 * @param example a value a user may write
 */
public record CakeOption<T>(ConfEntry<T> entry, String example) {
  public CakeOption {
    entry.value(example);
  }

  /** The param's name, such as {@code chunkTokens}. */
  public String name() {
    return entry.key();
  }

  public T byDefault() {
    return entry.value(null);
  }

  /** The command line's spelling, such as {@code --chunk-tokens}. */
  public String flag() {
    return "--" + name().replaceAll("([A-Z])", "-$1").toLowerCase(Locale.ROOT);
  }

  /** Meaning, unit, limits and an example in one text. */
  public String help() {
    String unit = entry.unit().isEmpty() ? "" : " Unit: " + entry.unit() + ".";
    return entry.doc() + unit + " Use " + entry.rule() + ". Example: " + example + ".";
  }

  static CakeOption<Long> number(
      String name, String unit, long byDefault, long least, long most, String example, String doc) {
    return new CakeOption<>(ConfEntry.number(name, unit, byDefault, least, most, doc), example);
  }

  static CakeOption<Double> real(
      String name, String unit, double byDefault, String example, String doc) {
    return new CakeOption<>(
        new ConfEntry<>(
            name,
            unit,
            Double.toString(byDefault),
            doc,
            Double::valueOf,
            x -> x >= 0 && x < Double.POSITIVE_INFINITY,
            "a number of 0 or more"),
        example);
  }

  static CakeOption<Boolean> flag(String name, String doc) {
    return new CakeOption<>(
        new ConfEntry<>(
            name, "", "false", doc, CakeOption::trueOrFalse, b -> true, "true or false"),
        "true");
  }

  static CakeOption<String> text(String name, String byDefault, String example, String doc) {
    return new CakeOption<>(ConfEntry.text(name, byDefault, doc), example);
  }

  /** One of some words; the first is the default. */
  static CakeOption<String> choice(String name, String doc, String... words) {
    List<String> known = List.of(words);
    return new CakeOption<>(
        new ConfEntry<>(
            name, "", words[0], doc, s -> s, known::contains, String.join(" or ", known)),
        words[words.length - 1]);
  }

  /** {@code Boolean.valueOf} takes every typing error for false. */
  private static Boolean trueOrFalse(String text) {
    return switch (text) {
      case "true" -> true;
      case "false" -> false;
      default -> throw new IllegalArgumentException(text);
    };
  }
}
