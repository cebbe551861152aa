package org.mixedgpu.backend.cuda;

import org.mixedgpu.backend.Event;
import org.mixedgpu.tensor.Tensor;

/** What NCCL needs of the GPU whose tensors it moves. */
interface NcclDevice {
  /** Calls of the calling thread are for this GPU from now on. */
  void makeCurrent();

  /**
   * Lets NCCL queue work on the calling thread's stream that reads or writes the tensor.
   *
   * @return the point before that work: where what is read has been written
   */
  Event queue(Tensor tensor, CudaBackend.ForeignWork work);

  /** Leaves so many more multiprocessors to NCCL's work, or fewer where negative. */
  void leave(int multiprocessors);

  /** For messages. */
  @Override
  String toString();
}
