package org.mixedgpu.hetermoe.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.Serializable;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.spark.SparkConf;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.exchange.InProcessExchange;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.hetermoe.spark.data.TokenCorpus;
import org.mixedgpu.hetermoe.spark.gang.MemberContext;
import org.mixedgpu.hetermoe.train.LearningRate;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.hetermoe.train.ZebraJob;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.checkpoint.ModelConfigs;

/** Whatever fails in a member that is connected, its peers hear why before it leaves them. */
@Timeout(60)
class TrainTaskTest {
  private static final TokenCorpus CORPUS =
      new TokenCorpus(List.of(new TokenCorpus.Shard("nowhere", 80)), 8);

  private final List<String> heard = new ArrayList<>();

  /** Rank 0 of two in an exchange of so many; its peers are not there. */
  private final class Member implements MemberContext {
    private final int connected;

    Member(int connected) {
      this.connected = connected;
    }

    @Override
    public String runId() {
      return "run";
    }

    @Override
    public int epoch() {
      return 0;
    }

    @Override
    public Role role() {
      return Role.ATTENTION;
    }

    @Override
    public int rank() {
      return 0;
    }

    @Override
    public int attentionMembers() {
      return 1;
    }

    @Override
    public int expertMembers() {
      return 1;
    }

    @Override
    public String generation() {
      return "hopper";
    }

    @Override
    public List<String> addresses() {
      return List.of();
    }

    @Override
    public String host() {
      return "here";
    }

    @Override
    public Exchange exchange(Backend backend) {
      return listening(
          InProcessExchange.group(
                  Collections.nCopies(connected, backend),
                  new ExchangeLimits(1 << 20, Duration.ofSeconds(30)))
              .get(0));
    }

    @Override
    public void report(Serializable progress) {}

    @Override
    public boolean aborted() {
      return false;
    }
  }

  private Exchange listening(Exchange of) {
    return Intercepted.over(
        Exchange.class,
        of,
        (method, arguments, call) -> {
          if (method.equals("abort")) {
            heard.add("abort: " + arguments[0]);
          }
          if (method.equals("close")) {
            heard.add("close");
          }
          return call.proceed();
        });
  }

  private static TrainTask task(TokenCorpus corpus) {
    SparkConf conf = new SparkConf(false).set("spark.master", "local");
    Deployment deployment = Deployment.of(conf, "cpu", "fp32", 1, 0, 1);
    ModelSource source = ModelSource.of("tiny-mixtral", deployment.store());
    ModelConfig config = ModelConfigs.parse(source.json(), source.name());
    return new TrainTask(
        deployment,
        Emulation.NONE,
        source,
        0,
        0,
        AuxLoss.Kind.PER_LAYER,
        OptimizerConfig.standard(LearningRate.constant(1e-3)),
        corpus,
        TrainingPlan.even(ZebraJob.expertsByLayer(config), 1, 1, 1, 2, corpus.sequenceLength()),
        1,
        11,
        "nowhere",
        "network",
        Duration.ofSeconds(30));
  }

  @Test
  void aMemberThatCantBeMadeAbortsFirst() {
    assertThatThrownBy(() -> task(CORPUS).run(new Member(3)))
        .isInstanceOf(MixedGpuException.class)
        .hasMessage("The plan is for 2 ranks, the exchange connects 3");
    assertThat(heard)
        .containsExactly(
            "abort: rank 0 failed: The plan is for 2 ranks, the exchange connects 3", "close");
  }

  @Test
  void batchesThatCantBeReadAbortFirst() {
    assertThatThrownBy(() -> task(new TokenCorpus(List.of(), 8)).run(new Member(2)))
        .isInstanceOf(RuntimeException.class);
    assertThat(heard).hasSize(2).last().isEqualTo("close");
    assertThat(heard.get(0)).startsWith("abort: rank 0 failed: ");
  }
}
