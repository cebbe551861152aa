package org.mixedgpu.hetermoe.exchange;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** Gradients summed by NCCL: all members get the same bits, in every run. */
@Timeout(120)
abstract class NcclSumContract {
  /** Some fill a bucket, some share one, one is spread over several. */
  private static final int[] SIZES = {5, 70_000, 1, 300_000, 4096};

  private static final int BUCKET = 100_000;

  private final TestNccl nccl;
  private final int members;

  NcclSumContract(TestNccl nccl, int members) {
    this.nccl = nccl;
    this.members = members;
  }

  private record Sums(List<float[]> floats, double[] doubles, long bytesSent) {}

  @Test
  void everyMemberGetsTheSameBitsOfTheSumInEveryRun() throws Exception {
    List<Sums> first = run(members, members);
    List<Sums> second = run(members, members);
    long bytes = 0;
    for (int t = 0; t < SIZES.length; t++) {
      float[] sum = first.get(0).floats.get(t);
      double[] exact = exact(members, t);
      for (int i = 0; i < SIZES[t]; i++) {
        // One rounding of a number of at most a few units for each addition.
        if (Math.abs(sum[i] - exact[i]) > members * 1e-6) {
          throw new AssertionError(
              "Element " + i + " of tensor " + t + ": " + sum[i] + " for " + exact[i]);
        }
      }
      for (int rank = 0; rank < members; rank++) {
        assertThat(Arrays.equals(first.get(rank).floats.get(t), sum)).isTrue();
        assertThat(Arrays.equals(second.get(rank).floats.get(t), sum)).isTrue();
      }
      bytes += (long) Float.BYTES * SIZES[t];
    }
    for (Sums sums : first) {
      assertThat(sums.doubles).containsExactly(members * (members - 1) / 2.0);
      // Each bucket once: NCCL did it.
      assertThat(sums.bytesSent).isEqualTo(bytes);
    }
    nccl.check();
  }

  /** A member that has no part in the sum: an expert. */
  @Test
  void membersBesideTheSumAreNotAsked() throws Exception {
    List<Sums> all = run(members, members - 1);
    assertThat((double) all.get(0).floats.get(1)[7])
        .isCloseTo(exact(members - 1, 1)[7], within(members * 1e-6));
    nccl.check();
  }

  private static double[] exact(int summing, int tensor) {
    double[] sum = new double[SIZES[tensor]];
    for (int rank = 0; rank < summing; rank++) {
      float[] values = value(rank, tensor);
      for (int i = 0; i < sum.length; i++) {
        sum[i] += values[i];
      }
    }
    return sum;
  }

  private static float[] value(int rank, int tensor) {
    Random random = new Random(31L * rank + tensor);
    float[] values = new float[SIZES[tensor]];
    for (int i = 0; i < values.length; i++) {
      values[i] = random.nextFloat() - 0.5f;
    }
    return values;
  }

  /** The first so many members sum; the rest only connect. */
  private List<Sums> run(int size, int summing) throws Exception {
    List<TrainingBackend> backends = new ArrayList<>();
    for (int rank = 0; rank < size; rank++) {
      backends.add(nccl.open(rank, DType.F32));
    }
    int[] ranks = RowFlow.ranks(0, summing).stream().mapToInt(Integer::intValue).toArray();
    List<NcclExchange> exchanges =
        nccl.connect(
            InProcessExchange.group(backends, ExchangeLimits.DEFAULT), backends, List.of(), ranks);
    List<CompletableFuture<Sums>> running = new ArrayList<>();
    for (int rank = 0; rank < summing; rank++) {
      int of = rank;
      running.add(
          CompletableFuture.supplyAsync(
              () -> sum(exchanges.get(of), ranks, backends.get(of)),
              work -> new Thread(work, "nccl-sum").start()));
    }
    List<Sums> sums = new ArrayList<>();
    for (CompletableFuture<Sums> each : running) {
      sums.add(each.get());
    }
    exchanges.forEach(Exchange::close);
    backends.forEach(TrainingBackend::close);
    return sums;
  }

  private static Sums sum(Exchange exchange, int[] ranks, TrainingBackend backend) {
    List<Tensor> tensors = new ArrayList<>();
    try (AllReduce reduce = new AllReduce(exchange, "gradients", ranks, backend, BUCKET)) {
      for (int t = 0; t < SIZES.length; t++) {
        Tensor tensor = backend.allocate(DType.F32, Shape.of(SIZES[t]));
        tensors.add(tensor);
        ByteBuffer bytes = buffer(SIZES[t]);
        bytes.asFloatBuffer().put(value(exchange.rank(), t));
        backend.write(tensor, bytes);
      }
      reduce.sum(tensors);
      List<float[]> floats = new ArrayList<>();
      for (Tensor tensor : tensors) {
        ByteBuffer bytes = buffer((int) tensor.shape().elements());
        backend.read(bytes, tensor);
        float[] each = new float[(int) tensor.shape().elements()];
        bytes.clear();
        bytes.asFloatBuffer().get(each);
        floats.add(each);
      }
      return new Sums(floats, reduce.sum((double) exchange.rank()), reduce.bytesSent());
    } finally {
      tensors.forEach(Tensor::close);
    }
  }

  private static ByteBuffer buffer(int floats) {
    return ByteBuffer.allocateDirect(Float.BYTES * floats).order(ByteOrder.LITTLE_ENDIAN);
  }
}
