package org.mixedgpu.hetermoe.exchange;

import org.mixedgpu.tensor.Tensor;

/** Sums tensors over members without the host's memory; see {@link Exchange#deviceSum}. */
public interface DeviceSum {
  /**
   * Replaces an F32 tensor by its sum over the members, which call this with equal shapes in the
   * same order. As an op of the backend: in order on the calling thread's lane. All get the same
   * bits.
   */
  void sum(Tensor values);
}
