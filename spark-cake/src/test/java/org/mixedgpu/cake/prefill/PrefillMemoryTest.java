package org.mixedgpu.cake.prefill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.base.LiveThreads;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.cake.store.BundleStore;
import org.mixedgpu.cake.store.MemoryFiles;
import org.mixedgpu.tensor.DType;

/** A runner that finds too little memory leaves nothing on a backend that others use too. */
@Timeout(60)
class PrefillMemoryTest {
  private static final PrefillOptions OPTIONS =
      new PrefillOptions(PrefillMode.CAKE, 200, 3, IoRate.unlimited());

  /** Allocations until one fails; none where it is negative. */
  private int left = -1;

  private Backend scarce(Backend of) {
    return Intercepted.over(
        Backend.class,
        of,
        (method, arguments, call) -> {
          if (method.equals("allocate") && left-- == 0) {
            throw new MixedGpuException(Fault.EXHAUSTED, "no memory");
          }
          return call.proceed();
        });
  }

  @Test
  void whicheverAllocationFailsNothingIsLeft() throws Exception {
    Backend backend = scarce(new RoundingBackend(DType.BF16));
    try (TinyModel tiny = new TinyModel(TinyModel.dense(), backend);
        BundleStore store = new BundleStore(new MemoryFiles(), "cache", tiny.layout(), 1 << 20)) {
      long before = backend.memoryUse().tensors();
      // Keys and values of two layers; the last hidden row, the same in F32, and the logits.
      int allocations = 2 * 2 + 3;
      for (int failing = 0; failing < allocations; failing++) {
        left = failing;
        assertThatThrownBy(() -> new PrefillRunner(tiny.model, store, store.snapshot(), OPTIONS))
            .hasMessage("no memory");
        assertThat(backend.memoryUse().tensors()).isEqualTo(before);
        LiveThreads.assertNoneSoon("kv-copy.*");
      }
      left = allocations;
      new PrefillRunner(tiny.model, store, store.snapshot(), OPTIONS).close();
      assertThat(left).isZero();
      assertThat(backend.memoryUse().tensors()).isEqualTo(before);
      left = -1;
    }
  }
}
