package org.mixedgpu.nn;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.safetensors.Safetensors;

/** A folder of src/test/resources/golden; make_golden.py there writes them again. */
public record GoldenCase(String name) {
  public static final FileStore FILES = HadoopFileStore.ofDefaults();

  public Path folder() {
    return Path.of("src/test/resources/golden", name).toAbsolutePath();
  }

  /** What transformers computed; the caller closes it. */
  public Safetensors golden() {
    return Safetensors.open(FILES, folder().resolve("golden.safetensors").toString());
  }

  /** I64 tensor of token ids [..., rows, columns] as rows of one sequence each. */
  public int[][] tokens(String tensor) {
    try (Safetensors golden = golden()) {
      int[] flat = golden.ints(tensor);
      long[] dims = golden.entry(tensor).shape().toArray();
      int columns = (int) dims[dims.length - 1];
      int[][] rows = new int[flat.length / columns][];
      for (int i = 0; i < rows.length; i++) {
        rows[i] = Arrays.copyOfRange(flat, i * columns, (i + 1) * columns);
      }
      return rows;
    }
  }

  /** Settings, losses and gradient norms of the training run. */
  public JsonNode training() {
    try {
      return new ObjectMapper().readTree(folder().resolve("train.json").toFile());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A model folder in the given one with the weights after the training run. */
  public Path trainedModel(Path into) {
    try {
      Files.copy(folder().resolve("config.json"), into.resolve("config.json"));
      Files.copy(folder().resolve("final.safetensors"), into.resolve("model.safetensors"));
      return into;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
