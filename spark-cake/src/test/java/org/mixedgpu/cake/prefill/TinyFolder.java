package org.mixedgpu.cake.prefill;

import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.nn.checkpoint.SaveOptions;
import org.mixedgpu.nn.tokenizer.Tokenizer;

/** A model folder with a random model and the byte tokenizer. */
public final class TinyFolder {
  private TinyFolder() {}

  public static void write(FileStore files, String folder, ModelConfig config, long seed) {
    try (Backend backend = Backends.cpu(new CpuOptions(1, 1L << 30));
        Parameters parameters = Parameters.allocate(backend, config, Part.all());
        Tokenizer tokenizer = Tokenizer.named(files, Tokenizer.BYTE)) {
      parameters.initialize(seed);
      tokenizer.save(files, folder);
      Checkpoint.save(files, folder, backend, parameters, SaveOptions.defaults());
    }
  }
}
