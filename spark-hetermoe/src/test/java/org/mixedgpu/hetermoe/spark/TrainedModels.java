package org.mixedgpu.hetermoe.spark;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.spark.data.CorpusBatches;
import org.mixedgpu.hetermoe.spark.data.TokenCorpus;
import org.mixedgpu.hetermoe.train.SingleProcessTrainer;
import org.mixedgpu.hetermoe.train.TrainerConfig;
import org.mixedgpu.io.FileEntry;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.tensor.Tensor;

/** What one process computes from the shards of a run, and how far a trained folder is from it. */
final class TrainedModels {
  private TrainedModels() {}

  /**
   * Differences of all weights.
   *
   * @param losses of the one process, by step
   */
  record Difference(double rms, double largest, double shareWithin1e5, List<Double> losses) {}

  /**
   * Trains in one process on the batches that the estimator's run used, and compares weights.
   *
   * @param folder what the run wrote
   * @param tokens folder of its token shards
   */
  static Difference toOneProcess(HeterMoe run, FileStore store, String folder, String tokens) {
    ModelConfig config = Checkpoint.config(store, folder);
    int batch = Math.toIntExact(run.value(TrainOptions.BATCH_SIZE));
    int slices =
        Math.toIntExact(
            run.value(TrainOptions.ATTENTION_EXECUTORS) * run.value(TrainOptions.MICRO_BATCHES));
    long seed = run.value(TrainOptions.SEED);
    TokenCorpus corpus =
        corpus(store, tokens, Math.toIntExact(run.value(TrainOptions.SEQUENCE_LENGTH)));
    TrainerConfig trainer =
        new TrainerConfig(
            batch, corpus.sequenceLength(), slices, RunFacts.optimizer(run), RunFacts.auxLoss(run));
    try (TrainingBackend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        Parameters expected = Parameters.allocate(backend, config, Part.all());
        Parameters found = Checkpoint.load(store, folder, backend, Part.all())) {
      expected.initialize(seed);
      List<Double> losses = new ArrayList<>();
      try (SingleProcessTrainer single = new SingleProcessTrainer(backend, expected, trainer);
          CorpusBatches batches = new CorpusBatches(store, corpus, batch, seed)) {
        for (long step = 1; step <= run.value(TrainOptions.STEPS); step++) {
          losses.add(single.step(batches.sequences(step, 0, batch)).loss());
        }
      }
      return difference(backend, expected, found, losses);
    }
  }

  /** The shards in a folder. */
  static TokenCorpus corpus(FileStore store, String folder, int sequenceLength) {
    List<TokenCorpus.Shard> shards = new ArrayList<>();
    for (FileEntry file : store.list(folder)) {
      // 32 bytes of an empty shard, 4 a token and 4 a block of 4096 tokens; see ShardWriter.
      long tokens = (file.bytes() - 32) / 4;
      tokens -= (tokens + 4096) / 4097;
      shards.add(new TokenCorpus.Shard(file.path(), tokens));
    }
    return new TokenCorpus(shards, sequenceLength);
  }

  private static Difference difference(
      TrainingBackend backend, Parameters expected, Parameters found, List<Double> losses) {
    double squares = 0;
    double largest = 0;
    long elements = 0;
    long near = 0;
    for (Parameters.Entry entry : expected.entries()) {
      FloatBuffer a = values(backend, entry.tensor());
      FloatBuffer b = values(backend, found.tensor(entry.name()));
      assertThat(b.capacity()).isEqualTo(a.capacity());
      for (int i = 0; i < a.capacity(); i++) {
        double difference = Math.abs((double) a.get(i) - b.get(i));
        squares += difference * difference;
        largest = Math.max(largest, difference);
        near += difference <= 1e-5 ? 1 : 0;
      }
      elements += a.capacity();
    }
    return new Difference(Math.sqrt(squares / elements), largest, (double) near / elements, losses);
  }

  private static FloatBuffer values(TrainingBackend backend, Tensor tensor) {
    ByteBuffer bytes =
        ByteBuffer.allocateDirect(Math.toIntExact(tensor.bytes())).order(ByteOrder.LITTLE_ENDIAN);
    backend.read(bytes, tensor);
    return bytes.flip().asFloatBuffer();
  }
}
