package org.mixedgpu.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Garbage;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

class WorkspaceTest {
  @Test
  void aSlotGrowsAndIsSeenInTheShapeAskedFor() {
    try (TrainingBackend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        Workspace workspace = new Workspace(backend)) {
      Tensor small = workspace.reals("a", 3, 4);
      backend.fill(small, 2);
      long bytes = backend.memoryUse().bytes();
      // Another shape of no more elements is the same memory.
      Tensor turned = workspace.reals("a", 6, 2);
      assertThat(turned.shape()).isEqualTo(Shape.of(6, 2));
      assertThat(Floats.read(backend, turned)).containsOnly(2);
      assertThat(backend.memoryUse().bytes()).isEqualTo(bytes);
      assertThat(workspace.floats("b", 3, 4).shape()).isEqualTo(Shape.of(3, 4));
      Tensor large = workspace.reals("a", 30, 4);
      assertThat(large.shape()).isEqualTo(Shape.of(30, 4));
      assertThat(backend.memoryUse().bytes()).isEqualTo(10 * bytes + bytes);
      assertThat(backend.memoryUse().tensors()).isEqualTo(2);
    }
  }

  @Test
  void theSameShapeAgainAllocatesNothing() {
    try (TrainingBackend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        Workspace workspace = new Workspace(backend)) {
      assertThat(Garbage.of(() -> workspace.reals("a", 300, 400))).isZero();
      assertThat(workspace.reals("a", 300, 400)).isSameAs(workspace.reals("a", 300, 400));
    }
  }

  @Test
  void aSlotHasOneType() {
    try (TrainingBackend backend = new RoundingBackend(DType.BF16);
        Workspace workspace = new Workspace(backend)) {
      workspace.reals("a", 2, 2);
      assertThatThrownBy(() -> workspace.floats("a", 2, 2))
          .hasMessageContainingAll("Slot a", "two types");
    }
  }
}
