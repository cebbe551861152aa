package org.mixedgpu.cake.prefill;

import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.MoeConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.QkNorm;
import org.mixedgpu.nn.RopeConfig;

/** A random model of a few thousand parameters on its own backend; closing finds leaks. */
public final class TinyModel implements AutoCloseable {
  public static final int CHUNK = 8;
  public static final int MAX_TOKENS = 1024;

  /** Enough for the byte tokenizer. */
  public static final int VOCABULARY = 300;

  public final Backend backend;
  public final Parameters parameters;
  public final DecoderModel model;

  public TinyModel(ModelConfig config) {
    this(config, Backends.cpu(new CpuOptions(2, 1L << 30)));
  }

  /** Closes the backend too. */
  public TinyModel(ModelConfig config, Backend backend) {
    this.backend = backend;
    parameters = Parameters.allocate(backend, config, Part.all());
    parameters.initialize(7);
    model = DecoderModel.open(backend, config, parameters, MAX_TOKENS);
  }

  public static ModelConfig dense() {
    return config(ModelFamily.QWEN3, Optional.empty());
  }

  public static ModelConfig sparse() {
    MoeConfig moe = new MoeConfig(4, 2, true, 24, 0, List.of(true, true), 0, 0);
    return config(ModelFamily.QWEN3_MOE, Optional.of(moe));
  }

  private static ModelConfig config(ModelFamily family, Optional<MoeConfig> moe) {
    return new ModelConfig(
        family,
        VOCABULARY,
        32,
        2,
        4,
        2,
        8,
        48,
        1e-6f,
        RopeConfig.unscaled(10000),
        false,
        false,
        false,
        QkNorm.PER_HEAD,
        Collections.nCopies(2, 0),
        false,
        moe,
        // Large enough that attention matters to the output of so few layers.
        0.3f,
        MAX_TOKENS,
        -1,
        List.of());
  }

  public KvLayout layout() {
    return Layouts.of(model.config(), backend.computeType(), "5a".repeat(32), CHUNK);
  }

  public static int[] tokens(int count, long seed) {
    return new Random(seed).ints(count, 0, VOCABULARY).toArray();
  }

  @Override
  public void close() {
    model.close();
    parameters.close();
    backend.close();
  }
}
