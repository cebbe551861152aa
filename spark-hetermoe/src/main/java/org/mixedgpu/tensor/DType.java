package org.mixedgpu.tensor;

/** Element types. Arithmetic is in F32; F16 and BF16 are storage and, on GPUs, matrix types. */
public enum DType {
  F32(4, "F32"),
  F16(2, "F16"),
  BF16(2, "BF16"),
  I32(4, "I32");

  private final int bytes;
  private final String safetensorsName;

  DType(int bytes, String safetensorsName) {
    this.bytes = bytes;
    this.safetensorsName = safetensorsName;
  }

  /** Size of one element in bytes. */
  public int bytes() {
    return bytes;
  }

  /** The name that the safetensors format uses. */
  public String safetensorsName() {
    return safetensorsName;
  }
}
