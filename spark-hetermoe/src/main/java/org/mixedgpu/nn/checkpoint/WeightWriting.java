package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.TextFiles;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.safetensors.SafetensorsWriter;
import org.mixedgpu.nn.safetensors.SafetensorsWriter.Announced;
import org.mixedgpu.tensor.Tensor;

/** Parameters into safetensors files, piece by piece. */
final class WeightWriting {
  private WeightWriting() {}

  /** Files of an attempt that was not finished may be there; a finished checkpoint may not. */
  static void checkNew(FileStore files, String folder) {
    Check.input(
        !files.exists(FileStore.in(folder, Checkpoint.CONFIG)),
        "%s holds a finished checkpoint, which is not overwritten; save to a new folder",
        folder);
  }

  /** A whole model, in as many files as the limit asks for. */
  static List<SavedShard> write(
      FileStore files, String folder, Backend backend, Parameters from, SaveOptions options) {
    List<List<DiskTensor>> shards = new ArrayList<>();
    long bytes = Long.MAX_VALUE;
    for (DiskTensor tensor : DiskTensor.of(from.config(), from.part())) {
      long own = tensor.shape().elements() * options.type().bytes();
      if (shards.isEmpty() || bytes + own > options.maxShardBytes()) {
        shards.add(new ArrayList<>());
        bytes = 0;
      }
      shards.get(shards.size() - 1).add(tensor);
      bytes += own;
    }
    List<SavedShard> saved = new ArrayList<>();
    for (int i = 0; i < shards.size(); i++) {
      String name = shards.size() == 1 ? WeightFiles.SINGLE : shardName(i, shards.size());
      saved.add(write(files, folder, name, shards.get(i), backend, from, options));
    }
    return saved;
  }

  static SavedShard writeShard(
      FileStore files,
      String folder,
      Backend backend,
      Parameters part,
      int shard,
      int shards,
      SaveOptions options) {
    Check.input(shard >= 0 && shard < shards, "There is no shard %d of %d", shard, shards);
    List<DiskTensor> tensors = DiskTensor.of(part.config(), part.part());
    return write(files, folder, shardName(shard, shards), tensors, backend, part, options);
  }

  private static String shardName(int shard, int shards) {
    return String.format(Locale.ROOT, "model-%05d-of-%05d.safetensors", shard + 1, shards);
  }

  private static SavedShard write(
      FileStore files,
      String folder,
      String name,
      List<DiskTensor> tensors,
      Backend backend,
      Parameters from,
      SaveOptions options) {
    List<Announced> announced = new ArrayList<>();
    for (DiskTensor tensor : tensors) {
      announced.add(new Announced(tensor.name(), options.type(), tensor.shape()));
    }
    String path = FileStore.in(folder, name);
    // transformers refuses files whose metadata do not say that they are PyTorch's.
    try (SafetensorsWriter out =
        SafetensorsWriter.create(files, path, announced, Map.of("format", "pt"))) {
      ByteBuffer piece = Pieces.buffer();
      for (DiskTensor tensor : tensors) {
        write(out, tensor, backend, from.exact(tensor.parameter()), piece);
      }
      replace(files, path, out);
    }
    return new SavedShard(
        name,
        announced.stream().map(Announced::name).toList(),
        announced.stream().mapToLong(Announced::bytes).sum());
  }

  private static void write(
      SafetensorsWriter out,
      DiskTensor tensor,
      Backend backend,
      Tensor parameter,
      ByteBuffer piece) {
    Pieces.read(
        backend,
        parameter,
        tensor.firstElement(),
        tensor.shape().elements(),
        piece,
        (part, first) -> out.writeFloats(part));
  }

  /** A file that is there without a config was left by an attempt that was not finished. */
  private static void replace(FileStore files, String path, SafetensorsWriter out) {
    files.delete(path);
    Check.input(
        out.publish(),
        "%s appeared while it was written here; two jobs save to the same folder",
        path);
  }

  static void finish(
      FileStore files,
      String folder,
      ModelConfig config,
      List<SavedShard> shards,
      SaveOptions options) {
    checkComplete(config, shards);
    boolean single = shards.size() == 1 && shards.get(0).file().equals(WeightFiles.SINGLE);
    // Of an unfinished attempt that had another number of shards.
    files.delete(FileStore.in(folder, WeightFiles.INDEX));
    if (!single) {
      files.delete(FileStore.in(folder, WeightFiles.SINGLE));
      publish(files, FileStore.in(folder, WeightFiles.INDEX), index(shards));
    }
    publish(
        files,
        FileStore.in(folder, Checkpoint.CONFIG),
        ModelConfigs.toJson(config, options.type()));
  }

  private static void checkComplete(ModelConfig config, List<SavedShard> shards) {
    Set<String> missing = new TreeSet<>();
    DiskTensor.of(config, Part.all()).forEach(tensor -> missing.add(tensor.name()));
    for (SavedShard shard : shards) {
      for (String tensor : shard.tensors()) {
        Check.input(
            missing.remove(tensor),
            "Shard %s has tensor %s, which another shard has too or the model does not have",
            shard.file(),
            tensor);
      }
    }
    Check.input(missing.isEmpty(), "No shard has %d tensors: %s", missing.size(), missing);
  }

  private static String index(List<SavedShard> shards) {
    ObjectMapper json = new ObjectMapper();
    ObjectNode root = json.createObjectNode();
    root.putObject("metadata")
        .put("total_size", shards.stream().mapToLong(SavedShard::bytes).sum());
    Map<String, String> places = new TreeMap<>(Comparator.naturalOrder());
    for (SavedShard shard : shards) {
      shard.tensors().forEach(tensor -> places.put(tensor, shard.file()));
    }
    ObjectNode map = root.putObject("weight_map");
    places.forEach(map::put);
    try {
      return json.writerWithDefaultPrettyPrinter().writeValueAsString(root) + "\n";
    } catch (JsonProcessingException e) {
      throw new MixedGpuException(Fault.BUG, "The index can't be written as JSON", e);
    }
  }

  private static void publish(FileStore files, String path, String text) {
    Check.input(
        TextFiles.write(files, path, text),
        "%s appeared while it was written here; two jobs save to the same folder",
        path);
  }
}
