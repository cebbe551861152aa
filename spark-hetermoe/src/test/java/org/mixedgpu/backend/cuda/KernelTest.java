package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.backend.CudaOptions;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;

/** What a launch that cannot be is told. */
@Tag("gpu")
class KernelTest {
  @TempDir static Path cache;

  private CudaDevice device;
  private Kernel fill;

  @BeforeEach
  void open() {
    device = new CudaDevice(new CudaOptions("0", DType.F32, Long.MAX_VALUE, cache));
    fill = device.kernels().get("elementwise", "fill", DType.F32);
  }

  @AfterEach
  void close() {
    device.close();
  }

  /** To fill so many elements with 1. */
  private LaunchArguments arguments(CudaTensor out, long elements) {
    return device.arguments().add(out).add(1f).add(elements);
  }

  @Test
  void aBadLaunchNamesCallKernelDeviceAndSizes() {
    try (CudaTensor x = device.memory().allocate(DType.F32, Shape.of(8), device.current())) {
      assertThatThrownBy(() -> fill.launch(1, 1, 1, 4096, 0, arguments(x, 8)))
          .isInstanceOfSatisfying(
              MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BUG))
          .hasMessageContainingAll(
              "cuLaunchKernel",
              "CUDA_ERROR_INVALID_VALUE",
              "elementwise.fill",
              "grid 1 x 1 x 1",
              "block 4096",
              "F32[8]",
              device.toString());
      fill.launch(1, 1, 1, 256, 0, arguments(x, 8));
      device.current().synchronize();
    }
  }

  @Test
  void sharedMemoryAndGridHaveLimits() {
    int most = device.sharedBytesPerBlock();
    assertThatThrownBy(() -> fill.launch(1, 1, 1, 32, most + 1, arguments(null, 0)))
        .hasMessageContainingAll("elementwise.fill", "at most " + most, most + 1 + " bytes");
    fill.launch(1, 1, 1, 32, most, arguments(null, 0));
    assertThatThrownBy(() -> fill.launch(1, 70_000, 1, 32, 0, arguments(null, 0)))
        .hasMessageContainingAll("elementwise.fill", "70000");
    fill.launch(0, 70_000, 1, 32, 0, arguments(null, 0));
    device.current().synchronize();
  }

  @Test
  void aMissingFunctionIsNamed() {
    assertThatThrownBy(() -> device.kernels().get("elementwise", "nothing", DType.F32))
        .hasMessageContainingAll("cuModuleGetFunction", "CUDA_ERROR_NOT_FOUND", "nothing");
  }

  @Test
  void scratchMemoryGrowsAndIsReused() {
    device.makeCurrent();
    CudaTensor small = device.scratch().bytes("a", 10);
    assertThat(device.scratch().bytes("a", 1000)).isSameAs(small);
    assertThat(small.pointer() % 256).isZero();
    CudaTensor other = device.scratch().bytes("b", 10);
    assertThat(other.pointer()).isNotEqualTo(small.pointer());
    CudaTensor large = device.scratch().bytes("a", 3 << 20);
    assertThat(large.bytes()).isEqualTo(3 << 20);
    assertThatThrownBy(small::pointer).hasMessageContaining("closed");
  }
}
