package org.mixedgpu.nn.checkpoint;

import java.util.List;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.TextFiles;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;

/**
 * Hugging Face model folders. {@code config.json} is published last: a folder without one is not a
 * checkpoint, and a folder with one is never written again.
 */
public final class Checkpoint {
  private static final int MAX_CONFIG_BYTES = 1 << 20;
  static final String CONFIG = "config.json";

  private Checkpoint() {}

  /** The model config of a folder; {@code MISSING} where there is none. */
  public static ModelConfig config(FileStore files, String folder) {
    String path = FileStore.in(folder, CONFIG);
    return ModelConfigs.parse(TextFiles.read(files, path, MAX_CONFIG_BYTES), path);
  }

  /**
   * The weights of a part of a model for inference, converted to the backend's compute type, gains
   * of norms to F32; in F32 they can be trained too. The folder's tensors must be those of the
   * model exactly, also where only a part is read. The caller closes the parameters.
   */
  public static Parameters load(FileStore files, String folder, Backend backend, Part part) {
    return filled(
        files, folder, backend, Parameters.forInference(backend, config(files, folder), part));
  }

  /** As {@link #load}, with the F32 masters that training needs. */
  public static Parameters loadForTraining(
      FileStore files, String folder, Backend backend, Part part) {
    return filled(
        files, folder, backend, Parameters.allocate(backend, config(files, folder), part));
  }

  private static Parameters filled(
      FileStore files, String folder, Backend backend, Parameters parameters) {
    try {
      read(files, folder, backend, parameters);
      return parameters;
    } catch (RuntimeException e) {
      parameters.close();
      throw e;
    }
  }

  /** Fills the parameters of a part of the folder's model, masters and working copies. */
  public static void read(FileStore files, String folder, Backend backend, Parameters parameters) {
    try (WeightFiles weights = WeightFiles.open(files, folder)) {
      WeightReading.read(weights, folder, backend, parameters);
    }
  }

  /** Writes a whole model, from its masters where there are any. */
  public static void save(
      FileStore files, String folder, Backend backend, Parameters parameters, SaveOptions options) {
    WeightWriting.checkNew(files, folder);
    List<SavedShard> shards = WeightWriting.write(files, folder, backend, parameters, options);
    finish(files, folder, parameters.config(), shards, options);
  }

  /**
   * Writes the part of a model that one of several members holds into one file. The folder is no
   * checkpoint before {@link #finish}.
   *
   * @param shard from 0 on, the same for a member that tries again
   * @param shards how many members write
   */
  public static SavedShard saveShard(
      FileStore files,
      String folder,
      Backend backend,
      Parameters part,
      int shard,
      int shards,
      SaveOptions options) {
    WeightWriting.checkNew(files, folder);
    return WeightWriting.writeShard(files, folder, backend, part, shard, shards, options);
  }

  /**
   * Makes a checkpoint of the shards: checks that they hold every tensor of the model once, then
   * publishes the index and at last the config.
   */
  public static void finish(
      FileStore files,
      String folder,
      ModelConfig config,
      List<SavedShard> shards,
      SaveOptions options) {
    WeightWriting.checkNew(files, folder);
    WeightWriting.finish(files, folder, config, shards, options);
  }

  /**
   * SHA-256, as hexadecimal digits, of what the model computes: its config and the name, type,
   * shape and bytes of every tensor. Equal models in other shards have the same digest; the same
   * weights stored in another type do not. Reads the whole folder once.
   */
  public static String digest(FileStore files, String folder) {
    return WeightDigest.of(files, folder);
  }
}
