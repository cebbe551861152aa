package org.mixedgpu.hetermoe.train.bench;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.bench.DeviceData;
import org.mixedgpu.backend.emulated.EmulatedBackend;
import org.mixedgpu.backend.emulated.Slowdown;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.exchange.NcclExchange;
import org.mixedgpu.hetermoe.spark.exchange.PeerAddress;
import org.mixedgpu.hetermoe.spark.exchange.SparkNetworkExchange;
import org.mixedgpu.hetermoe.spark.exchange.TransportOptions;
import org.mixedgpu.hetermoe.train.MemberReport;
import org.mixedgpu.hetermoe.train.ModelParts;
import org.mixedgpu.hetermoe.train.StepListener;
import org.mixedgpu.hetermoe.train.ZebraMember;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.tensor.DType;

/**
 * One of the two processes of {@link CudaZebraBenchmark}: the backend of its rank and its exchange.
 * As a program it is the expert rank, which does what it is told on its input: {@code connect} with
 * a way and the other's port, {@code run} with a {@link ZebraRun}, {@code leave}, {@code quit}.
 */
public final class ZebraPeer implements AutoCloseable {
  private static final String HOST = "127.0.0.1";
  private static final String SECRET = "a secret of this benchmark";
  private static final Duration LIMIT = Duration.ofSeconds(60);

  /** Rows of a message are up to some hundred MiB. */
  private static final ExchangeLimits LIMITS = new ExchangeLimits(1 << 30, LIMIT);

  private final int rank;
  private final TrainingBackend backend;
  private SparkNetworkExchange network;
  private Exchange exchange;

  ZebraPeer(int rank) {
    this.rank = rank;
    this.backend = TestDevice.open(rank, DType.BF16);
  }

  TrainingBackend backend() {
    return backend;
  }

  /** Begins a new connection; returns the port for the other. */
  int listen() {
    network = new SparkNetworkExchange(HOST, SECRET, TransportOptions.plain(LIMITS));
    return network.address().port();
  }

  /**
   * Connects with the other, which listens too.
   *
   * @param rows how they pass; CPUs don't have NCCL
   */
  void connect(Rows rows, int otherPort) {
    PeerAddress other = new PeerAddress(HOST, otherPort);
    network.join(
        rank,
        rank == 0 ? List.of(network.address(), other) : List.of(other, network.address()),
        backend);
    exchange =
        switch (rows) {
          case NCCL -> TestDevice.isCpu() ? network : nccl();
          case NETWORK -> network;
          case NONE -> new RowlessExchange(network, backend);
        };
  }

  private Exchange nccl() {
    return NcclExchange.connect(network, backend, ZebraMember.flows(1, 2), new int[] {0}, LIMIT);
  }

  /** Also after a failure of a run, which leaves the exchange unusable. */
  void disconnect() {
    if (exchange != null) {
      exchange.close();
    } else if (network != null) {
      network.close();
    }
    exchange = null;
    network = null;
  }

  boolean isConnected() {
    return exchange != null;
  }

  MemberReport run(ZebraRun run, StepListener listener) {
    TrainingBackend used =
        run.emulated() && rank == 1
            ? new EmulatedBackend(backend, "volta", Slowdown.V100_BEHIND_A40)
            : backend;
    return new ZebraMember(run.job(), used, exchange, run.batches(), new MadeOnDevice(), listener)
        .run();
  }

  /** Random weights, made on the device. */
  private final class MadeOnDevice implements ModelParts {
    @Override
    public void load(Parameters part) {
      try (DeviceData data = new DeviceData(backend)) {
        data.fill(part);
      }
    }

    @Override
    public void save(int of, Parameters part) {}
  }

  @Override
  public void close() {
    disconnect();
    backend.close();
  }

  public static void main(String[] arguments) throws Exception {
    BufferedReader told =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    try (ZebraPeer expert = new ZebraPeer(1)) {
      say("ready " + expert.backend.name());
      for (String line = told.readLine(); line != null; line = told.readLine()) {
        String[] words = line.split(" ", 3);
        switch (words[0]) {
          case "leave" -> {
            expert.disconnect();
            say("left");
          }
          case "connect" -> {
            say("port " + expert.listen());
            expert.connect(Rows.valueOf(words[1]), Integer.parseInt(words[2]));
            say("connected");
          }
          case "run" -> say(expert.answer(ZebraRun.parse(line.substring("run ".length()))));
          default -> {
            return;
          }
        }
      }
    }
  }

  private String answer(ZebraRun run) {
    try {
      long[] timeline = run(run, report -> {}).packedTimeline();
      return "done "
          + Arrays.stream(timeline).mapToObj(Long::toString).collect(Collectors.joining(" "));
    } catch (RuntimeException e) {
      disconnect();
      return "failed " + String.valueOf(e.getMessage()).replace('\n', ' ');
    }
  }

  private static void say(String line) {
    System.out.println(line);
    System.out.flush();
  }
}
