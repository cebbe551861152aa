package org.mixedgpu.hetermoe.exchange;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

@Timeout(60)
class AllReduceTest {
  private static final int[] SIZES = {5, 1, 300, 64, 2};

  @ParameterizedTest
  @CsvSource({"1, 100", "2, 7", "2, 1000", "3, 64", "4, 100", "5, 3"})
  void everyMemberGetsTheSumInRankOrderBitForBit(int members, int bucket) throws Exception {
    float[][][] values = new float[members][][];
    double[][] doubles = new double[members][];
    Random random = new Random(members);
    for (int rank = 0; rank < members; rank++) {
      values[rank] = new float[SIZES.length][];
      for (int t = 0; t < SIZES.length; t++) {
        values[rank][t] = new float[SIZES[t]];
        for (int i = 0; i < SIZES[t]; i++) {
          values[rank][t][i] = (float) random.nextGaussian();
        }
      }
      doubles[rank] = new double[] {random.nextGaussian(), -0.0, rank};
    }
    List<Result> results = run(members, bucket, values, doubles);

    for (Result result : results) {
      for (int t = 0; t < SIZES.length; t++) {
        float[] expected = values[0][t].clone();
        for (int rank = 1; rank < members; rank++) {
          for (int i = 0; i < expected.length; i++) {
            expected[i] += values[rank][t][i];
          }
        }
        assertThat(result.floats.get(t)).containsExactly(expected);
      }
      double sum = 0;
      for (int rank = 0; rank < members; rank++) {
        sum += doubles[rank][0];
      }
      assertThat(result.doubles).containsExactly(sum, 0, members * (members - 1) / 2.0);
    }
  }

  private record Result(List<float[]> floats, double[] doubles) {}

  private static List<Result> run(int members, int bucket, float[][][] values, double[][] doubles)
      throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(members);
    int[] ranks = new int[members];
    for (int i = 0; i < members; i++) {
      // A member that does not take part lies between: ranks need not be dense.
      ranks[i] = i == 0 ? 0 : i + 1;
    }
    try (TrainingBackend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE))) {
      List<InProcessExchange> gang =
          InProcessExchange.group(
              Collections.nCopies(members + 1, backend), ExchangeLimits.DEFAULT);
      List<Future<Result>> running = new ArrayList<>();
      for (int i = 0; i < members; i++) {
        int member = i;
        running.add(
            threads.submit(
                () ->
                    member(
                        gang.get(ranks[member]),
                        ranks,
                        backend,
                        bucket,
                        values[member],
                        doubles[member])));
      }
      List<Result> results = new ArrayList<>();
      for (Future<Result> each : running) {
        results.add(each.get());
      }
      return results;
    } finally {
      threads.shutdownNow();
    }
  }

  private static Result member(
      Exchange exchange,
      int[] ranks,
      TrainingBackend backend,
      int bucket,
      float[][] values,
      double[] doubles) {
    List<Tensor> tensors = new ArrayList<>();
    try (AllReduce reduce = new AllReduce(exchange, "gradients", ranks, backend, bucket)) {
      for (float[] each : values) {
        Tensor tensor = backend.allocate(DType.F32, Shape.of(1, each.length));
        tensors.add(tensor);
        ByteBuffer bytes = buffer(each.length);
        bytes.asFloatBuffer().put(each);
        backend.write(tensor, bytes);
      }
      reduce.sum(tensors);
      List<float[]> sums = new ArrayList<>();
      for (Tensor tensor : tensors) {
        ByteBuffer bytes = buffer((int) tensor.shape().elements());
        backend.read(bytes, tensor);
        float[] each = new float[(int) tensor.shape().elements()];
        bytes.clear();
        bytes.asFloatBuffer().get(each);
        sums.add(each);
      }
      return new Result(sums, reduce.sum(doubles));
    } finally {
      tensors.forEach(Tensor::close);
    }
  }

  private static ByteBuffer buffer(int floats) {
    return ByteBuffer.allocateDirect(4 * floats).order(ByteOrder.LITTLE_ENDIAN);
  }
}
