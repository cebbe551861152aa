package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.TextFiles;
import org.mixedgpu.nn.safetensors.Safetensors;
import org.mixedgpu.nn.safetensors.TensorEntry;

/** The safetensors files of a folder: {@code model.safetensors}, or shards with an index. */
final class WeightFiles implements AutoCloseable {
  static final String SINGLE = "model.safetensors";
  static final String INDEX = "model.safetensors.index.json";
  private static final int MAX_INDEX_BYTES = 1 << 28;

  /** A tensor and the file it is in. */
  record Located(Safetensors file, TensorEntry entry) {}

  private final Map<String, Safetensors> files = new LinkedHashMap<>();
  private final Map<String, Located> tensors = new TreeMap<>();

  private WeightFiles() {}

  /** Opens every file and reads its header. The caller closes. */
  static WeightFiles open(FileStore store, String folder) {
    WeightFiles weights = new WeightFiles();
    try {
      String single = FileStore.in(folder, SINGLE);
      String index = FileStore.in(folder, INDEX);
      if (store.exists(single)) {
        weights.add(store, single);
      } else if (store.exists(index)) {
        weights.addShards(store, folder, index);
      } else {
        throw new MixedGpuException(
            Fault.MISSING,
            folder
                + " has neither "
                + SINGLE
                + " nor "
                + INDEX
                + "; convert the weights to safetensors, or name another folder");
      }
      return weights;
    } catch (RuntimeException e) {
      weights.close();
      throw e;
    }
  }

  /** A single file in the role of a folder's weights. */
  static WeightFiles openFile(FileStore store, String path) {
    WeightFiles weights = new WeightFiles();
    weights.add(store, path);
    return weights;
  }

  /** All tensors, by name. */
  Map<String, Located> tensors() {
    return tensors;
  }

  private void add(FileStore store, String path) {
    Safetensors file = Safetensors.open(store, path);
    files.put(path, file);
    for (TensorEntry entry : file.entries().values()) {
      Located before = tensors.put(entry.name(), new Located(file, entry));
      Check.intact(before == null, "Tensor %s is in two files, one of them %s", entry.name(), path);
    }
  }

  private void addShards(FileStore store, String folder, String index) {
    Map<String, String> places = places(store, index);
    for (String name : new TreeSet<>(places.values())) {
      add(store, FileStore.in(folder, name));
    }
    SortedSet<String> missing = new TreeSet<>(places.keySet());
    missing.removeAll(tensors.keySet());
    Check.intact(missing.isEmpty(), "%s names tensors that no file has: %s", index, missing);
    places.forEach(
        (tensor, name) ->
            Check.intact(
                tensors.get(tensor).file() == files.get(FileStore.in(folder, name)),
                "%s says that tensor %s is in %s, but it is in %s",
                index,
                tensor,
                name,
                tensors.get(tensor).file().path()));
  }

  private static Map<String, String> places(FileStore store, String index) {
    JsonNode root;
    try {
      root = new ObjectMapper().readTree(TextFiles.read(store, index, MAX_INDEX_BYTES));
    } catch (JsonProcessingException e) {
      throw new MixedGpuException(
          Fault.CORRUPT, index + " is not JSON: " + e.getOriginalMessage(), e);
    }
    JsonNode map = root.path("weight_map");
    Check.intact(map.isObject() && !map.isEmpty(), "%s has no weight_map", index);
    Map<String, String> places = new LinkedHashMap<>();
    map.fields()
        .forEachRemaining(
            field -> {
              String name = field.getValue().asText();
              // A name from a foreign file must not lead out of the folder.
              Check.input(
                  field.getValue().isTextual() && name.matches("[A-Za-z0-9_][A-Za-z0-9._-]*"),
                  "%s places tensor %s in '%s'; expected the name of a file in the same folder",
                  index,
                  field.getKey(),
                  name);
              places.put(field.getKey(), name);
            });
    return places;
  }

  @Override
  public void close() {
    files.values().forEach(Safetensors::close);
  }
}
