package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CudaOptions;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.emulated.EmulatedBackend;
import org.mixedgpu.backend.emulated.Slowdown;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** What one GPU can show of NCCL: a group of one rank, its sums, and messages to itself. */
@Tag("gpu")
@Timeout(90)
class NcclCommunicatorGpuTest {
  private static final Duration LIMIT = Duration.ofSeconds(60);
  private static final int ELEMENTS = 1 << 20;

  private static NcclCommunicator alone(TrainingBackend backend) {
    NcclCommunicator group = NcclCommunicator.of(backend, "test", 0, LIMIT);
    group.join(group.newId(), 1, 0);
    return group;
  }

  @Test
  void aGroupOfOneSumsAndSendsToItselfOnALane() {
    try (TrainingBackend backend = Backends.cuda(CudaOptions.device(0));
        Tensor out = backend.allocate(DType.F32, Shape.of(ELEMENTS));
        Tensor in = backend.allocate(DType.F32, Shape.of(ELEMENTS));
        NcclCommunicator group = alone(backend);
        Lane lane = backend.lane("nccl")) {
      System.out.println("NCCL " + NcclCommunicator.version() + ", " + group);
      lane.submit(() -> backend.fill(out, 2.5f));
      lane.submit(() -> group.sum(out));
      lane.submit(
          () -> {
            Nccl.Calls calls = Nccl.open().calls();
            calls.ncclGroupStart();
            group.send(0, out);
            group.receive(0, in);
            calls.ncclGroupEnd();
            group.settle("ncclGroupEnd");
          });
      lane.synchronize();
      assertThat(floats(backend, in)).containsOnly(2.5f);
    }
  }

  @Test
  void anEmulatedGpuIsAGpu() {
    TrainingBackend inner = Backends.cuda(CudaOptions.device(0));
    try (TrainingBackend backend = new EmulatedBackend(inner, "volta", Slowdown.V100_BEHIND_A40);
        NcclCommunicator group = alone(backend)) {
      assertThat(NcclCommunicator.busId(backend))
          .isEqualTo(NcclCommunicator.busId(inner))
          .matches("[0-9a-fA-F]+:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\\.0");
      assertThat(group.toString()).contains("rank 0 on GPU 0");
    }
  }

  /** The other rank never comes: what waits for it ends when the group is aborted. */
  @Test
  void anAbortEndsTheWaitForARankThatNeverComes() throws Exception {
    try (TrainingBackend backend = Backends.cuda(CudaOptions.device(0))) {
      long start = System.nanoTime();
      NcclCommunicator lonely = NcclCommunicator.of(backend, "lonely", 0, Duration.ofSeconds(3));
      assertThatThrownBy(() -> lonely.join(lonely.newId(), 2, 0))
          .isInstanceOf(MixedGpuException.class)
          .hasMessageContaining("ncclCommInitRankConfig of 2 ranks did not get on within 3000 ms")
          .hasMessageContaining("NCCL group lonely, rank 0");
      lonely.abort("nobody came");
      assertThat(System.nanoTime() - start).isLessThan(20_000_000_000L);
    }
  }

  @Test
  void afterAnAbortCallsFailWithItsReason() {
    try (TrainingBackend backend = Backends.cuda(CudaOptions.device(0));
        Tensor values = backend.allocate(DType.F32, Shape.of(4));
        NcclCommunicator group = alone(backend)) {
      group.abort("rank 1 is gone");
      assertThatThrownBy(() -> group.sum(values)).hasMessageContaining("rank 1 is gone");
      assertThatThrownBy(() -> group.send(0, values)).hasMessageContaining("ncclSend of 16 bytes");
    }
  }

  private static float[] floats(TrainingBackend backend, Tensor tensor) {
    ByteBuffer bytes =
        ByteBuffer.allocateDirect(Math.toIntExact(tensor.bytes())).order(ByteOrder.LITTLE_ENDIAN);
    backend.read(bytes, tensor);
    float[] values = new float[ELEMENTS];
    bytes.flip().asFloatBuffer().get(values);
    return values;
  }
}
