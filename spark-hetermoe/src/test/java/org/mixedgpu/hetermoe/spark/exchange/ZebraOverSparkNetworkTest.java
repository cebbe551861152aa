package org.mixedgpu.hetermoe.spark.exchange;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.hetermoe.train.LearningRate;
import org.mixedgpu.hetermoe.train.ModelParts;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.hetermoe.train.ZebraGang;
import org.mixedgpu.hetermoe.train.ZebraJob;
import org.mixedgpu.hetermoe.train.ZebraModels;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;

/** The transport does not change a bit of what is trained. */
class ZebraOverSparkNetworkTest {
  private static final int SEQUENCE = 12;

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  @Timeout(120)
  void trainingOverSparksNetworkGivesTheBitsOfThreads(boolean encrypted) throws Exception {
    ModelConfig model = ZebraModels.qwen2Moe(0.01f);
    TrainingPlan plan = TrainingPlan.even(ZebraJob.expertsByLayer(model), 2, 2, 3, 6, SEQUENCE);
    OptimizerConfig optimizer = OptimizerConfig.standard(LearningRate.constant(1e-3));
    ZebraJob job = new ZebraJob(model, plan, optimizer, AuxLoss.Kind.HUGGING_FACE, 4, false);
    ModelParts parts = ModelParts.random(ZebraGang.SEED);

    List<ZebraGang.Outcome> threads =
        ZebraGang.run(job, ZebraGang.tokens(SEQUENCE), parts, ZebraGang.NO_FAULT);
    List<ZebraGang.Outcome> network =
        ZebraGang.run(job, ZebraGang.tokens(SEQUENCE), parts, new OverNetwork(encrypted));

    for (int rank = 0; rank < plan.ranks(); rank++) {
      ZebraGang.Outcome found = network.get(rank);
      assertThat(found.failure()).isNull();
      threads
          .get(rank)
          .weights()
          .forEach((name, values) -> assertThat(found.weights().get(name)).containsExactly(values));
    }
  }

  private record OverNetwork(boolean encrypted) implements ZebraGang.Fault {
    @Override
    public List<? extends Exchange> connect(List<TrainingBackend> backends, ExchangeLimits limits) {
      TransportOptions plain = TransportOptions.plain(limits);
      TransportOptions options = encrypted ? plain.withEncryption() : plain;
      List<SparkNetworkExchange> members = new ArrayList<>();
      for (int rank = 0; rank < backends.size(); rank++) {
        members.add(new SparkNetworkExchange("127.0.0.1", "a secret of this run", options));
      }
      List<PeerAddress> addresses = members.stream().map(SparkNetworkExchange::address).toList();
      for (int rank = 0; rank < backends.size(); rank++) {
        members.get(rank).join(rank, addresses, backends.get(rank));
      }
      return members;
    }
  }
}
