package org.mixedgpu.nn;

import java.util.Collections;
import java.util.List;
import java.util.Optional;
import org.mixedgpu.backend.Backend;

/** A small model of each family, with everything that the family can have. */
public final class TinyModels {
  private static final int LAYERS = 3;

  private TinyModels() {}

  public static ModelConfig of(ModelFamily family) {
    boolean qwen2 = family == ModelFamily.QWEN2 || family == ModelFamily.QWEN2_MOE;
    boolean mistral = family == ModelFamily.MISTRAL;
    QkNorm qkNorm =
        switch (family) {
          case QWEN3, QWEN3_MOE -> QkNorm.PER_HEAD;
          case OLMOE -> QkNorm.WHOLE;
          default -> QkNorm.NONE;
        };
    return new ModelConfig(
        family,
        61,
        24,
        LAYERS,
        4,
        family == ModelFamily.OLMOE ? 4 : 2,
        qkNorm == QkNorm.PER_HEAD ? 10 : 6,
        40,
        1e-5f,
        family == ModelFamily.LLAMA
            ? RopeConfig.llama3(10000, 8, 1, 4, 16)
            : RopeConfig.unscaled(10000),
        qwen2,
        false,
        family == ModelFamily.LLAMA,
        qkNorm,
        mistral ? List.of(5, 0, 3) : Collections.nCopies(LAYERS, 0),
        family == ModelFamily.QWEN2,
        moe(family),
        0.25f,
        64,
        1,
        List.of(2));
  }

  private static Optional<MoeConfig> moe(ModelFamily family) {
    List<Boolean> all = Collections.nCopies(LAYERS, true);
    return switch (family) {
      case MIXTRAL -> Optional.of(new MoeConfig(4, 2, true, 20, 0, all, 0.05f, 0));
      case QWEN2_MOE ->
          Optional.of(new MoeConfig(6, 2, false, 12, 28, List.of(true, false, true), 0.05f, 0.01f));
      case QWEN3_MOE -> Optional.of(new MoeConfig(5, 3, true, 16, 0, all, 0.02f, 0));
      case OLMOE -> Optional.of(new MoeConfig(8, 3, false, 12, 0, all, 0.05f, 0.02f));
      default -> Optional.empty();
    };
  }

  /** Weights whose norms and biases are not trivial either. The caller closes them. */
  public static Parameters parameters(Backend b, ModelConfig config, long seed) {
    Parameters p = Parameters.allocate(b, config, Part.all());
    p.initialize(seed);
    for (Parameters.Entry entry : p.entries()) {
      if (entry.tensor().shape().rank() == 1) {
        float[] x = Floats.read(b, entry.master());
        long stream = Initializer.stream(seed + 1, entry.name());
        for (int i = 0; i < x.length; i++) {
          x[i] += (float) (0.2 * Initializer.truncatedNormal(stream, i));
        }
        Floats.write(b, entry.master(), x);
      }
    }
    p.refresh();
    return p;
  }

  /** A pseudo-random sequence. */
  public static int[] tokens(int count, int vocab, long seed) {
    int[] ids = new int[count];
    long stream = Initializer.stream(seed, "tokens");
    for (int i = 0; i < count; i++) {
      ids[i] = Math.floorMod((int) (Initializer.truncatedNormal(stream, i) * 1e6), vocab);
    }
    return ids;
  }
}
