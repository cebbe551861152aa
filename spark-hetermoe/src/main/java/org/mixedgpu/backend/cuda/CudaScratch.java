package org.mixedgpu.backend.cuda;

import java.util.HashMap;
import java.util.Map;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;

/**
 * Memory for what an op needs between its kernels. Each stream has its own, which grows to the most
 * that was asked for and stays until the stream is closed; it counts against the memory limit. Its
 * contents are undefined at the start of an op.
 */
final class CudaScratch {
  /** Sizes grow in such steps, so that slightly longer batches do not allocate anew. */
  private static final long STEP = 1 << 20;

  private final CudaDevice device;
  private final CudaStream stream;
  private final Map<String, CudaTensor> slots = new HashMap<>();

  CudaScratch(CudaDevice device, CudaStream stream) {
    this.device = device;
    this.stream = stream;
  }

  /**
   * At least so many bytes, at an address that is a multiple of 256. The same slot is the same
   * memory, also for another op: only what one op uses at the same time needs different slots.
   *
   * @return seen as F32
   */
  CudaTensor bytes(String slot, long bytes) {
    CudaTensor held = slots.get(slot);
    if (held != null && held.bytes() >= bytes) {
      return held;
    }
    if (held != null) {
      slots.remove(slot);
      held.close();
    }
    long size = Math.max(1, (bytes + STEP - 1) / STEP) * STEP;
    CudaTensor grown =
        device.memory().scratch(slot, DType.F32, Shape.of(size / DType.F32.bytes()), stream);
    slots.put(slot, grown);
    return grown;
  }

  void close() {
    slots.values().forEach(CudaTensor::close);
    slots.clear();
  }
}
