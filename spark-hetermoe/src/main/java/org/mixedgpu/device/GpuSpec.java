package org.mixedgpu.device;

import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * One kind of card.
 *
 * @param name ours, such as {@code A100-SXM4-80GB}
 * @param generation word such as {@code ampere}
 * @param nvidiaSmiNames what {@code nvidia-smi} calls it
 * @param memoryBytes of the smallest variant
 * @param memoryBytesPerSecond peak of the card's own memory
 * @param peakFlopsPerSecond dense, by {@code fp32}, {@code fp16} and {@code bf16}; absent where
 *     there are no units for a type
 * @param measuredGemmFlopsPerSecond best large matrix product seen, in the card's fastest 16-bit
 *     type
 */
public record GpuSpec(
    String name,
    String generation,
    ComputeCapability capability,
    List<String> nvidiaSmiNames,
    Quantity memoryBytes,
    Quantity memoryBytesPerSecond,
    Map<String, Quantity> peakFlopsPerSecond,
    Optional<Quantity> measuredGemmFlopsPerSecond) {
  public GpuSpec {
    nvidiaSmiNames = List.copyOf(nvidiaSmiNames);
    peakFlopsPerSecond = Map.copyOf(peakFlopsPerSecond);
  }
}
