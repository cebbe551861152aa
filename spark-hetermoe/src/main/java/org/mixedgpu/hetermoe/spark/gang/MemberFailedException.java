package org.mixedgpu.hetermoe.spark.gang;

/** Stands in the driver for an exception of a member; its message is the member's stack trace. */
public final class MemberFailedException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  MemberFailedException(String stack) {
    super(stack, null, false, false);
  }
}
