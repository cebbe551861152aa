package org.mixedgpu.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

class HostMemoryTest {

  @Test
  void aLeakIsAnExceptionWithNumberBytesAndOrigin() {
    HostMemory memory = new HostMemory("test", 1000);
    memory.allocate(DType.F32, Shape.of(5));
    memory.allocate(DType.F16, Shape.of(3));
    assertThatThrownBy(memory::close)
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BUG))
        .hasMessageContainingAll("2 tensors", "26 bytes", "F32[5]", "HostMemoryTest.java:");
  }

  @Test
  void theLimitIsInBytesAndFreedBytesCountAgain() {
    try (HostMemory memory = new HostMemory("test", 100)) {
      HostTensor first = memory.allocate(DType.F32, Shape.of(20));
      assertThatThrownBy(() -> memory.allocate(DType.I32, Shape.of(6)))
          .isInstanceOfSatisfying(
              MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.EXHAUSTED))
          .hasMessageContainingAll("24 bytes", "80 of 100", "1 tensors");
      assertThat(memory.tensors()).isEqualTo(1);
      first.close();
      memory.allocate(DType.I32, Shape.of(25)).close();
      assertThat(memory.bytes()).isZero();
      assertThat(memory.peakBytes()).isEqualTo(100);
    }
  }

  @Test
  void useAfterCloseIsABug() {
    try (HostMemory memory = new HostMemory("test", 100)) {
      HostTensor tensor = memory.allocate(DType.F32, Shape.of(4));
      HostTensor view = tensor.rows(1, 2);
      tensor.close();
      assertThatThrownBy(() -> view.f32(0)).hasMessageContaining("after it was closed");
      assertThatThrownBy(view::address).hasMessageContaining("after it was closed");
      assertThatThrownBy(() -> tensor.load(0, new float[4], 0, 4))
          .hasMessageContaining("after it was closed");
    }
    HostMemory closed = new HostMemory("gone", 100);
    closed.close();
    assertThatThrownBy(() -> closed.allocate(DType.F32, Shape.of(1)))
        .hasMessageContaining("gone is closed");
  }

  @Test
  void emptyTensorsAreAllowed() {
    try (HostMemory memory = new HostMemory("test", 0);
        HostTensor empty = memory.allocate(DType.F32, Shape.of(0, 7))) {
      assertThat(empty.bytes()).isZero();
      assertThat(empty.address()).isNotZero();
      empty.write(ByteBuffer.allocate(0));
      assertThat(empty.rows(0, 0).shape()).isEqualTo(Shape.of(0, 7));
    }
  }

  @Test
  void tensorsStartOnACacheLine() {
    try (HostMemory memory = new HostMemory("test", 1 << 20)) {
      for (int n : new int[] {1, 100, 50_000}) {
        try (HostTensor tensor = memory.allocate(DType.F32, Shape.of(n))) {
          assertThat(tensor.address() % 64).isZero();
        }
      }
    }
  }
}
