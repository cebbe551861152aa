package org.mixedgpu.base;

import java.util.Locale;

/** Checks of arguments and of foreign input; each failure carries values. */
public final class Check {
  private Check() {}

  /** Throws {@link Fault#BAD_INPUT} with the formatted message unless the condition holds. */
  public static void input(boolean condition, String message, Object... values) {
    check(Fault.BAD_INPUT, condition, message, values);
  }

  /** Throws {@link Fault#CORRUPT} with the formatted message unless the condition holds. */
  public static void intact(boolean condition, String message, Object... values) {
    check(Fault.CORRUPT, condition, message, values);
  }

  /** Throws {@link Fault#BUG} with the formatted message unless the condition holds. */
  public static void that(boolean condition, String message, Object... values) {
    check(Fault.BUG, condition, message, values);
  }

  private static void check(Fault fault, boolean condition, String message, Object... values) {
    if (!condition) {
      throw new MixedGpuException(fault, String.format(Locale.ROOT, message, values));
    }
  }
}
