package org.mixedgpu.base;

/**
 * The one exception of this library. Its message says what could not be done, what was expected,
 * what was found and where, and what to do next.
 */
public class MixedGpuException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final Fault fault;

  public MixedGpuException(Fault fault, String message) {
    super(message);
    this.fault = fault;
  }

  public MixedGpuException(Fault fault, String message, Throwable cause) {
    super(message, cause);
    this.fault = fault;
  }

  public Fault fault() {
    return fault;
  }
}
