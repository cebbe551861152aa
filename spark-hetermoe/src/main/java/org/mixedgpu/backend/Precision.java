package org.mixedgpu.backend;

import java.util.Locale;
import java.util.Optional;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/** The {@link Backend#computeType} that is asked for, in the words of settings. */
public enum Precision {
  /** F32 on a CPU; on a GPU BF16 from compute capability 8.0 on, F16 before. */
  AUTO(null),
  BF16(DType.BF16),
  FP16(DType.F16),
  FP32(DType.F32);

  private final DType type;

  Precision(DType type) {
    this.type = type;
  }

  /** By its word, such as {@code bf16}. */
  public static Precision named(String word) {
    for (Precision precision : values()) {
      if (precision.word().equals(word)) {
        return precision;
      }
    }
    throw new MixedGpuException(
        Fault.BAD_INPUT, "Precision '" + word + "' is not known; use auto, bf16, fp16 or fp32");
  }

  public String word() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The type; empty where the device decides. */
  public Optional<DType> type() {
    return Optional.ofNullable(type);
  }
}
