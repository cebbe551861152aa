package org.mixedgpu.hetermoe.exchange;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.cuda.NcclCommunicator;
import org.mixedgpu.backend.cuda.SimulatedGpu;
import org.mixedgpu.backend.cuda.SimulatedNccl;
import org.mixedgpu.hetermoe.train.ZebraMember;
import org.mixedgpu.tensor.DType;

/** Members that are threads of one process and have a GPU each, real or simulated. */
public final class TestNccl {
  static final Duration LIMIT = Duration.ofSeconds(30);

  /** Null on real GPUs. */
  private final SimulatedNccl simulated;

  private TestNccl(SimulatedNccl simulated) {
    this.simulated = simulated;
  }

  /** On any machine. */
  public static TestNccl simulated() {
    return new TestNccl(new SimulatedNccl(false /* ranks are threads */));
  }

  /** On the GPUs of {@link TestDevice}, or simulated where that is the CPU. */
  public static TestNccl ofTestDevices() {
    return TestDevice.isCpu() ? simulated() : new TestNccl(null);
  }

  /** The backend of a member on a GPU of its own; the caller closes it. */
  public TrainingBackend open(int rank, DType type) {
    if (simulated == null) {
      return TestDevice.open(rank, type);
    }
    return SimulatedGpu.over(
        type == DType.F32
            ? Backends.cpu(new CpuOptions(1, Long.MAX_VALUE))
            : new RoundingBackend(type));
  }

  /** The flows of training. */
  public List<NcclExchange> connect(
      List<? extends Exchange> hosts, List<? extends Backend> backends, int attention)
      throws Exception {
    return connect(
        hosts,
        backends,
        ZebraMember.flows(attention, backends.size()),
        IntStream.range(0, attention).toArray());
  }

  /** The flows of the exchange's contract. */
  static List<RowFlow> star(int size) {
    List<Integer> others = RowFlow.ranks(1, size);
    return List.of(
        new RowFlow("tokens", List.of(0), others), new RowFlow("back", others, List.of(0)));
  }

  List<NcclExchange> connect(
      List<? extends Exchange> hosts,
      List<? extends Backend> backends,
      List<RowFlow> flows,
      int[] summing)
      throws Exception {
    NcclExchange.Groups groups = simulated == null ? NcclCommunicator::of : simulated::make;
    return connect(hosts, groups, backends, flows, summing, LIMIT);
  }

  /** Each in a thread of its own, because they wait for each other. */
  static List<NcclExchange> connect(
      List<? extends Exchange> hosts,
      NcclExchange.Groups groups,
      List<? extends Backend> backends,
      List<RowFlow> flows,
      int[] summing,
      Duration limit)
      throws Exception {
    ExecutorService threads = Executors.newCachedThreadPool();
    try {
      List<Future<NcclExchange>> connecting = new ArrayList<>();
      for (int rank = 0; rank < hosts.size(); rank++) {
        int of = rank;
        connecting.add(
            threads.submit(
                () ->
                    NcclExchange.connect(
                        hosts.get(of), groups, backends.get(of), flows, summing, limit)));
      }
      List<NcclExchange> members = new ArrayList<>();
      for (Future<NcclExchange> each : connecting) {
        members.add(each.get());
      }
      return members;
    } finally {
      threads.shutdown();
    }
  }

  /** Fails where NCCL was used as no real one allows, or receives waited for their sends. */
  public void check() {
    if (simulated != null) {
      assertThat(simulated.crimes()).isEmpty();
      assertThat(simulated.earlyReceives()).isZero();
    }
  }
}
