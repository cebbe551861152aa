package org.mixedgpu.hetermoe.train;

import java.util.List;
import java.util.Optional;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.nn.checkpoint.SaveOptions;
import org.mixedgpu.nn.checkpoint.SavedShard;

/**
 * Weights from a seed or a Hugging Face folder, and into another folder. The first attention rank
 * writes what all attention ranks have alike, each expert rank its experts: one shard each. The
 * folder becomes a checkpoint by {@link #publish}, which whoever started the run calls once all its
 * members have returned, so that a member of an earlier attempt can never publish.
 *
 * @param from folder of the initial weights; empty for random ones
 * @param seed of random weights
 * @param to folder of the result, without a checkpoint
 */
public record FolderParts(
    FileStore files,
    Optional<String> from,
    long seed,
    String to,
    SaveOptions options,
    TrainingPlan plan)
    implements ModelParts {

  @Override
  public Parameters open(Backend backend, ModelConfig model, Part part) {
    return from.isPresent()
        ? Checkpoint.load(files, from.get(), backend, part)
        : ModelParts.random(seed).open(backend, model, part);
  }

  @Override
  public Optional<SavedShard> save(Backend backend, int rank, Parameters part) {
    if (rank > 0 && plan.role(rank) == Role.ATTENTION) {
      return Optional.empty();
    }
    int shard = rank == 0 ? 0 : rank - plan.attentionRanks() + 1;
    int shards = plan.expertRanks() + 1;
    return Optional.of(Checkpoint.saveShard(files, to, backend, part, shard, shards, options));
  }

  /** Makes the folder a checkpoint of what the members have saved. */
  public void publish(ModelConfig model, List<MemberReport> reports) {
    List<SavedShard> shards =
        reports.stream().map(MemberReport::shard).flatMap(Optional::stream).toList();
    Checkpoint.finish(files, to, model, shards, options);
  }
}
