package org.mixedgpu.hetermoe.spark;

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
    return entry.flag();
  }

  /** Meaning, unit, limits and an example in one text. */
  public String help() {
    return entry.help(example);
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
    return new TrainOption<>(ConfEntry.real(name, unit, byDefault, least, below, doc), example);
  }

  static TrainOption<String> text(String name, String byDefault, String example, String doc) {
    return new TrainOption<>(ConfEntry.text(name, byDefault, doc), example);
  }

  /** One of some words; the first is the default. */
  static TrainOption<String> choice(String name, String doc, String... words) {
    return new TrainOption<>(ConfEntry.choice(name, doc, words), words[words.length - 1]);
  }
}
