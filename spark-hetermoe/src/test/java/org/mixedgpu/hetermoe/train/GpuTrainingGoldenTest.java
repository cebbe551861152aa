package org.mixedgpu.hetermoe.train;

import org.junit.jupiter.api.Tag;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.DType;

/** The golden training runs on a GPU, in F32; {@link GpuGoldenTest} has the command. */
@Tag("gpu")
class GpuTrainingGoldenTest extends TrainingGoldenTest {
  @Override
  TrainingBackend open() {
    return TestDevice.open(DType.F32);
  }
}
