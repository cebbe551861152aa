package org.mixedgpu.cake.spark;

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
    return entry.flag();
  }

  /** Meaning, unit, limits and an example in one text. */
  public String help() {
    return entry.help(example);
  }

  static CakeOption<Long> number(
      String name, String unit, long byDefault, long least, long most, String example, String doc) {
    return new CakeOption<>(ConfEntry.number(name, unit, byDefault, least, most, doc), example);
  }

  static CakeOption<Double> real(
      String name, String unit, double byDefault, String example, String doc) {
    return new CakeOption<>(
        ConfEntry.real(name, unit, byDefault, 0, Double.POSITIVE_INFINITY, doc), example);
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
    return new CakeOption<>(ConfEntry.choice(name, doc, words), words[words.length - 1]);
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
