package org.mixedgpu.cake.prefill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.base.Fault;
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
    return (Backend)
        Proxy.newProxyInstance(
            getClass().getClassLoader(),
            new Class<?>[] {Backend.class},
            (proxy, method, arguments) -> {
              if (method.getName().equals("allocate") && left-- == 0) {
                throw new MixedGpuException(Fault.EXHAUSTED, "no memory");
              }
              try {
                return method.invoke(of, arguments);
              } catch (InvocationTargetException e) {
                throw e.getCause();
              }
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
        assertNoLaneIsLeft();
      }
      left = allocations;
      new PrefillRunner(tiny.model, store, store.snapshot(), OPTIONS).close();
      assertThat(left).isZero();
      assertThat(backend.memoryUse().tensors()).isEqualTo(before);
      left = -1;
    }
  }

  private static void assertNoLaneIsLeft() throws InterruptedException {
    // A lane's thread ends just after its last work.
    for (int i = 0; i < 200 && isLaneAlive(); i++) {
      Thread.sleep(10);
    }
    assertThat(isLaneAlive()).isFalse();
  }

  private static boolean isLaneAlive() {
    return Thread.getAllStackTraces().keySet().stream()
        .anyMatch(thread -> thread.getName().startsWith("kv-copy"));
  }
}
