package org.mixedgpu.hetermoe.spark.exchange;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.exchange.NcclExchange;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.hetermoe.train.LearningRate;
import org.mixedgpu.hetermoe.train.ModelParts;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.hetermoe.train.ZebraGang;
import org.mixedgpu.hetermoe.train.ZebraJob;
import org.mixedgpu.hetermoe.train.ZebraMember;
import org.mixedgpu.hetermoe.train.ZebraModels;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.tensor.DType;

/**
 * One of two members of a training run that goes on until something fails: a process for {@link
 * NcclProcessFaultGpu2Test}. It says {@code port}, is told {@code peers}, says {@code connected},
 * the first {@code step}s, how it {@code failed}, and then how it leaves: {@code closed}, {@code
 * released}. Its end is its own: nothing calls exit.
 */
public final class FaultMember {
  private static final int SEQUENCE = 16;
  static final int FIRST_STEPS = 3;

  private FaultMember() {}

  /** Arguments: rank; milliseconds that an exchange waits. */
  public static void main(String[] arguments) throws Exception {
    int rank = Integer.parseInt(arguments[0]);
    Duration patience = Duration.ofMillis(Long.parseLong(arguments[1]));
    BufferedReader told =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    ExchangeLimits limits = new ExchangeLimits(64 << 20, patience);
    try (TrainingBackend backend = TestDevice.open(rank, DType.F32);
        SparkNetworkExchange network =
            new SparkNetworkExchange(
                "127.0.0.1", "a secret of this run", TransportOptions.plain(limits))) {
      say("port " + network.address().port());
      List<PeerAddress> peers = new ArrayList<>();
      for (String port : told.readLine().substring("peers ".length()).split(" ")) {
        peers.add(new PeerAddress("127.0.0.1", Integer.parseInt(port)));
      }
      network.join(rank, peers, backend);
      Exchange exchange = TestDevice.isCpu() ? network : nccl(network, backend);
      say("connected " + exchange.getClass().getSimpleName());
      try {
        train(backend, exchange);
      } catch (RuntimeException e) {
        say("failed " + String.valueOf(e.getMessage()).replace('\n', ' '));
      }
      exchange.close();
      say("closed");
    }
    say("released");
  }

  private static void say(String line) {
    System.out.println(line);
    System.out.flush();
  }

  private static Exchange nccl(Exchange network, TrainingBackend backend) {
    return NcclExchange.connect(
        network, backend, ZebraMember.flows(1, 2), new int[] {0}, Duration.ofSeconds(60));
  }

  private static void train(TrainingBackend backend, Exchange exchange) {
    ModelConfig model = ZebraModels.wide();
    TrainingPlan plan = TrainingPlan.even(ZebraJob.expertsByLayer(model), 1, 1, 3, 6, SEQUENCE);
    OptimizerConfig optimizer = OptimizerConfig.standard(LearningRate.constant(1e-4));
    ZebraJob job =
        new ZebraJob(model, plan, optimizer, AuxLoss.Kind.HUGGING_FACE, Long.MAX_VALUE, false);
    new ZebraMember(
            job,
            backend,
            exchange,
            ZebraGang.tokens(SEQUENCE),
            ModelParts.random(ZebraGang.SEED),
            report -> {
              if (report.step() <= FIRST_STEPS) {
                say("step " + report.step());
              }
            })
        .run();
  }
}
