package org.mixedgpu.hetermoe.spark;

import org.mixedgpu.hetermoe.train.TrainerConfig;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.checkpoint.ModelConfigs;

/**
 * What {@code new HeterMoe()} trains when nothing but a text is given, for one process.
 *
 * @param settings with a slice for each micro-batch
 */
public record DefaultRun(ModelConfig model, TrainerConfig settings) {

  public static DefaultRun of(FileStore store) {
    HeterMoe run = new HeterMoe();
    ModelSource source = ModelSource.of(run.value(TrainOptions.MODEL), store);
    long slices =
        run.value(TrainOptions.ATTENTION_EXECUTORS) * run.value(TrainOptions.MICRO_BATCHES);
    return new DefaultRun(
        RunFacts.model(run, ModelConfigs.parse(source.json(), source.name())),
        new TrainerConfig(
            Math.toIntExact(run.value(TrainOptions.BATCH_SIZE)),
            Math.toIntExact(run.value(TrainOptions.SEQUENCE_LENGTH)),
            Math.toIntExact(slices),
            RunFacts.optimizer(run),
            RunFacts.auxLoss(run)));
  }
}
