package org.mixedgpu.hetermoe.spark;

import java.io.Serializable;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.Exchanges;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.hetermoe.spark.data.CorpusBatches;
import org.mixedgpu.hetermoe.spark.data.TokenCorpus;
import org.mixedgpu.hetermoe.spark.gang.MemberContext;
import org.mixedgpu.hetermoe.spark.gang.MemberTask;
import org.mixedgpu.hetermoe.train.MemberReport;
import org.mixedgpu.hetermoe.train.ModelParts;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.hetermoe.train.ZebraJob;
import org.mixedgpu.hetermoe.train.ZebraMember;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.nn.checkpoint.ModelConfigs;
import org.mixedgpu.nn.checkpoint.SaveOptions;
import org.mixedgpu.nn.checkpoint.SavedShard;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What one member of a training gang does: it opens its device, joins the others, trains, and
 * writes the weights it owns.
 *
 * @param model config.json of the model, its factors on auxiliary losses replaced by the next two
 * @param weights folder to continue from; empty for new weights from the seed
 * @param output folder that the members write their shards to
 * @param exchangeSetting {@code auto}, {@code network} or {@code nccl}
 * @param exchangeTimeout how long connecting through NCCL may take
 */
record TrainTask(
    Deployment deployment,
    Emulation emulation,
    ModelSource model,
    float auxCoefficient,
    float zCoefficient,
    AuxLoss.Kind auxKind,
    OptimizerConfig optimizer,
    TokenCorpus corpus,
    TrainingPlan plan,
    long steps,
    long seed,
    String output,
    String exchangeSetting,
    Duration exchangeTimeout)
    implements MemberTask<TrainTask.Outcome> {
  private static final Logger LOG = LoggerFactory.getLogger(TrainTask.class);

  /**
   * @param shards what this member wrote: one, or none where another member has the same weights
   */
  record Outcome(MemberReport report, List<SavedShard> shards) implements Serializable {}

  @Override
  public Outcome run(MemberContext member) {
    ModelConfig parsed = ModelConfigs.parse(model.json(), model.name());
    ModelConfig config = parsed.withLossCoefficients(auxCoefficient, zCoefficient);
    ZebraJob job = new ZebraJob(config, plan, optimizer, auxKind, steps, true);
    // In the order in which they may be closed: whoever holds tensors before their backend.
    try (TrainingBackend backend =
            emulation.slowed(deployment.open(member.addresses()), member.generation());
        Exchange exchange = exchange(member, backend)) {
      try {
        return train(member, job, backend, exchange);
      } catch (Throwable e) {
        // Before the exchange closes: that waits for peers, who wait for this member.
        exchange.abort("rank " + member.rank() + " failed: " + MixedGpuException.describe(e));
        throw e;
      }
    }
  }

  private Outcome train(
      MemberContext member, ZebraJob job, TrainingBackend backend, Exchange exchange) {
    try (CorpusBatches batches =
        new CorpusBatches(deployment.store(), corpus, plan.batchSequences(), seed)) {
      LOG.info("Rank {} ({}) computes on {}", member.rank(), member.role(), backend.name());
      Weights weights = new Weights(backend, member);
      MemberReport report =
          new ZebraMember(
                  job,
                  backend,
                  exchange,
                  batches,
                  weights,
                  step -> {
                    if (member.rank() == 0) {
                      member.report(step);
                    }
                  })
              .run();
      return new Outcome(report, weights.saved);
    }
  }

  private Exchange exchange(MemberContext member, TrainingBackend backend) {
    return Exchanges.best(
        member.exchange(backend),
        member.host(),
        backend,
        exchangeSetting,
        ZebraMember.flows(member.attentionMembers(), member.size()),
        IntStream.range(0, member.attentionMembers()).toArray(),
        exchangeTimeout);
  }

  /** Each member reads and writes its own part of a Hugging Face folder. */
  private final class Weights implements ModelParts {
    private final TrainingBackend backend;
    private final MemberContext member;
    private final List<SavedShard> saved = new ArrayList<>();

    Weights(TrainingBackend backend, MemberContext member) {
      this.backend = backend;
      this.member = member;
    }

    @Override
    public void load(Parameters part) {
      if (model.weights().isEmpty()) {
        part.initialize(seed);
      } else {
        LOG.info("Rank {} loads its part of the model", member.rank());
        Checkpoint.read(deployment.store(), model.weights(), backend, part);
      }
      // Peers wait, and their logs end here: whose does not is the one they wait for.
      LOG.info("Rank {} has its part of the model", member.rank());
    }

    @Override
    public void save(int rank, Parameters part) {
      if (rank > 0 && rank < member.attentionMembers()) {
        return; // rank 0 has the same weights
      }
      int shard = rank == 0 ? 0 : rank - member.attentionMembers() + 1;
      int shards = 1 + member.expertMembers();
      LOG.info("Rank {} saves shard {} of {}", rank, shard + 1, shards);
      saved.add(
          Checkpoint.saveShard(
              deployment.store(), output, backend, part, shard, shards, SaveOptions.defaults()));
      LOG.info("Rank {} has saved its shard", rank);
    }
  }
}
