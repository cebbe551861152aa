package org.mixedgpu.hetermoe.spark;

import java.util.List;
import java.util.Locale;
import org.mixedgpu.base.ConfEntry;

/**
 * One option of a training run, declared once: a param of {@link HeterMoe} and an option of the
 * command line.
 *
 * @param entry name, unit, default, meaning and limits
 * @param example a value a user may write
 */
public record TrainOption<T>(ConfEntry<T> entry, String example) {
  public TrainOption {
    entry.value(example);
  }

  /** The param's name, such as {@code sequenceLength}. */
  public String name() {
    return entry.key();
  }

  public T byDefault() {
    return entry.value(null);
  }

  /** The command line's spelling, such as {@code --sequence-length}. */
  public String flag() {
    return "--" + name().replaceAll("([A-Z])", "-$1").toLowerCase(Locale.ROOT);
  }

  /** Meaning, unit, limits and an example in one text. */
  public String help() {
    String unit = entry.unit().isEmpty() ? "" : " Unit: " + entry.unit() + ".";
    return entry.doc() + unit + " Use " + entry.rule() + ". Example: " + example + ".";
  }

  static TrainOption<Long> number(
      String name, String unit, long byDefault, long least, long most, String example, String doc) {
    return new TrainOption<>(ConfEntry.number(name, unit, byDefault, least, most, doc), example);
  }

  /** A real number from {@code least} to below {@code below}. */
  static TrainOption<Double> real(
      String name,
      String unit,
      double byDefault,
      double least,
      double below,
      String example,
      String doc) {
    String rule =
        below == Double.POSITIVE_INFINITY
            ? "a number of " + least + " or more"
            : "a number from " + least + " to below " + below;
    return new TrainOption<>(
        new ConfEntry<>(
            name,
            unit,
            Double.toString(byDefault),
            doc,
            Double::valueOf,
            x -> x >= least && x < below,
            rule),
        example);
  }

  static TrainOption<String> text(String name, String byDefault, String example, String doc) {
    return new TrainOption<>(ConfEntry.text(name, byDefault, doc), example);
  }

  /** One of some words; the first is the default. */
  static TrainOption<String> choice(String name, String doc, String... words) {
    List<String> known = List.of(words);
    return new TrainOption<>(
        new ConfEntry<>(
            name, "", words[0], doc, s -> s, known::contains, String.join(" or ", known)),
        words[words.length - 1]);
  }
}
