package org.mixedgpu.cake.prefill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.base.LiveThreads;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.cake.store.BundleStore;
import org.mixedgpu.cake.store.CacheSnapshot;
import org.mixedgpu.cake.store.ChunkWriter;
import org.mixedgpu.cake.store.KvStore;
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

  /** A CUDA device has few streams, and a buffer may be 128 MiB. */
  @Test
  void whoNeverLoadsHasNoLaneAndNoBuffers() {
    AtomicInteger lanes = new AtomicInteger();
    AtomicInteger buffers = new AtomicInteger();
    Backend backend =
        Intercepted.over(
            Backend.class,
            new RoundingBackend(DType.BF16),
            (method, arguments, call) -> {
              if (method.equals("lane")) {
                lanes.incrementAndGet();
              }
              return call.proceed();
            });
    try (TinyModel tiny = new TinyModel(TinyModel.dense(), backend);
        BundleStore bundles = new BundleStore(new MemoryFiles(), "cache", tiny.layout(), 1 << 20)) {
      KvStore store =
          Intercepted.over(
              KvStore.class,
              bundles,
              (method, arguments, call) -> {
                if (method.equals("bufferBytes")) {
                  buffers.incrementAndGet();
                }
                return call.proceed();
              });
      int[] prompt = TinyModel.tokens(3 * TinyModel.CHUNK + 1, 1);
      int[] other = TinyModel.tokens(3 * TinyModel.CHUNK + 1, 2);
      PrefillOptions computes = new PrefillOptions(PrefillMode.COMPUTE, 200, 3, IoRate.unlimited());
      PrefillOptions loads = new PrefillOptions(PrefillMode.LOAD, 200, 3, IoRate.unlimited());
      try (PrefillRunner runner =
              new PrefillRunner(tiny.model, store, CacheSnapshot.empty(), loads);
          ChunkWriter writer = store.writer()) {
        runner.run(prompt);
        runner.write(writer, 0, 3);
        writer.finish();
      }
      try (PrefillRunner runner =
          new PrefillRunner(tiny.model, store, store.snapshot(), computes)) {
        runner.run(prompt);
      }
      assertThat(lanes.get()).isZero();
      assertThat(buffers.get()).isZero();
      try (PrefillRunner runner = new PrefillRunner(tiny.model, store, store.snapshot(), loads)) {
        assertThat(runner.run(other).loaded()).isZero();
        assertThat(lanes.get()).isZero();
        for (int i = 0; i < 2; i++) {
          assertThat(runner.run(prompt).loaded()).isEqualTo(3 * TinyModel.CHUNK);
          runner.run(other);
        }
        assertThat(lanes.get()).isEqualTo(1);
        assertThat(buffers.get()).isPositive();
      }
    }
  }
}
