package org.mixedgpu.base;

import java.util.Locale;

/**
 * Checks of arguments and of foreign input; each failure carries values. A check with values makes
 * an array of them whether it fails or not. What is checked for every op or every token is tested
 * where it is, and thrown from here: it then allocates nothing while it holds.
 */
public final class Check {
  private Check() {}

  /** Throws {@link Fault#BAD_INPUT} with the message unless the condition holds. */
  public static void input(boolean condition, String message) {
    if (!condition) {
      throw new MixedGpuException(Fault.BAD_INPUT, message);
    }
  }

  /** Throws {@link Fault#BAD_INPUT} with the formatted message unless the condition holds. */
  public static void input(boolean condition, String message, Object... values) {
    if (!condition) {
      throw badInput(message, values);
    }
  }

  /** Throws {@link Fault#CORRUPT} with the formatted message unless the condition holds. */
  public static void intact(boolean condition, String message, Object... values) {
    if (!condition) {
      throw failed(Fault.CORRUPT, message, values);
    }
  }

  /** Throws {@link Fault#BUG} with the message unless the condition holds. */
  public static void that(boolean condition, String message) {
    if (!condition) {
      throw new MixedGpuException(Fault.BUG, message);
    }
  }

  /** Throws {@link Fault#BUG} with the formatted message unless the condition holds. */
  public static void that(boolean condition, String message, Object... values) {
    if (!condition) {
      throw bug(message, values);
    }
  }

  /** What {@link #input} throws. */
  public static MixedGpuException badInput(String message, Object... values) {
    return failed(Fault.BAD_INPUT, message, values);
  }

  /** What {@link #that} throws. */
  public static MixedGpuException bug(String message, Object... values) {
    return failed(Fault.BUG, message, values);
  }

  private static MixedGpuException failed(Fault fault, String message, Object... values) {
    return new MixedGpuException(fault, String.format(Locale.ROOT, message, values));
  }
}
