package org.mixedgpu.hetermoe.spark;

import org.apache.spark.network.util.JavaUtils;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.hetermoe.train.LearningRate;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.hetermoe.train.ZebraJob;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.MoeConfig;

/** From the options of a run to the records of the layers below. Pure functions. */
final class RunFacts {
  private RunFacts() {}

  static OptimizerConfig optimizer(HeterMoeParams p) {
    double peak = p.value(TrainOptions.LEARNING_RATE);
    long warmup = p.value(TrainOptions.WARMUP_STEPS);
    long steps = p.value(TrainOptions.STEPS);
    Check.input(
        warmup < steps, "warmupSteps is %d and steps %d; warm up for fewer steps", warmup, steps);
    // The rate is 0 one step after the last: a step with 0 would change nothing.
    LearningRate rate =
        p.value(TrainOptions.SCHEDULE).equals("constant")
            ? new LearningRate(peak, warmup, 0, 1)
            : LearningRate.cosine(peak, warmup, steps + 1, 0);
    return new OptimizerConfig(
        rate,
        p.value(TrainOptions.BETA1).floatValue(),
        p.value(TrainOptions.BETA2).floatValue(),
        p.value(TrainOptions.EPSILON).floatValue(),
        p.value(TrainOptions.WEIGHT_DECAY).floatValue(),
        p.value(TrainOptions.CLIP_NORM));
  }

  static AuxLoss.Kind auxLoss(HeterMoeParams p) {
    return p.value(TrainOptions.AUX_LOSS).equals("megatron")
        ? AuxLoss.Kind.PER_LAYER
        : AuxLoss.Kind.HUGGING_FACE;
  }

  /** The model's own configuration with the loss factors of this run, checked against it. */
  static ModelConfig model(HeterMoeParams p, ModelConfig config) {
    Check.input(
        config.moe().isPresent(),
        "A %s model has no experts to put on other GPUs; HeterMoe trains mixtures of experts",
        config.family());
    Check.input(
        config.requireMoe().sparseLayers() > 0,
        "The model has experts in none of its %d layers; HeterMoe trains mixtures of experts, so"
            + " correct its mlp_only_layers and decoder_sparse_step",
        config.layers());
    int end = config.eosIds().isEmpty() ? -1 : config.eosIds().get(0);
    Check.input(
        end < config.vocab(),
        "eos_token_id is %d and the model's vocabulary only %d ids; correct the model's config.json",
        end,
        config.vocab());
    long length = p.value(TrainOptions.SEQUENCE_LENGTH);
    Check.input(
        length <= config.maxPositions(),
        "sequenceLength is %d and the model takes at most %d positions",
        length,
        config.maxPositions());
    long members = p.value(TrainOptions.EXPERT_EXECUTORS);
    MoeConfig moe = config.requireMoe();
    Check.input(
        members <= moe.experts(),
        "expertExecutors is %d and the model has %d experts per layer; use fewer",
        members,
        moe.experts());
    String aux = p.value(TrainOptions.AUX_COEFFICIENT);
    String z = p.value(TrainOptions.Z_COEFFICIENT);
    return config.withLossCoefficients(
        aux.isEmpty() ? moe.auxCoefficient() : Float.parseFloat(aux),
        z.isEmpty() ? moe.zCoefficient() : Float.parseFloat(z));
  }

  /** Who computes what; refuses what cannot be divided. */
  static TrainingPlan plan(HeterMoeParams p, ModelConfig config) {
    return TrainingPlan.even(
        ZebraJob.expertsByLayer(config),
        Math.toIntExact(p.value(TrainOptions.ATTENTION_EXECUTORS)),
        Math.toIntExact(p.value(TrainOptions.EXPERT_EXECUTORS)),
        Math.toIntExact(p.value(TrainOptions.MICRO_BATCHES)),
        Math.toIntExact(p.value(TrainOptions.BATCH_SIZE)),
        Math.toIntExact(p.value(TrainOptions.SEQUENCE_LENGTH)));
  }

  /** A MiB count from Spark's notation of sizes, such as {@code 2g}; plain numbers are MiB. */
  static long mib(String size) {
    return JavaUtils.byteStringAsMb(size.strip());
  }
}
