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

  /**
   * What a message of another failure says of this one: of an exception of others its class too.
   */
  public static String describe(Throwable failure) {
    return failure instanceof MixedGpuException ? failure.getMessage() : failure.toString();
  }

  public Fault fault() {
    return fault;
  }
}
