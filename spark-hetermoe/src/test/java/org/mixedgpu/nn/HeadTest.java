package org.mixedgpu.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

class HeadTest {
  private static final int ROWS = 150;

  /** Losses, gradient by x, gradients of the weight and of the norm. */
  private static float[][] run(ModelFamily family, long chunkElements, boolean evaluate) {
    ModelConfig config = TinyModels.of(family);
    int[] targets = TinyModels.tokens(ROWS, config.vocab(), 4);
    targets[7] = -1;
    targets[149] = -1;
    try (TrainingBackend b = Backends.cpu(CpuOptions.allCores());
        Parameters p = TinyModels.parameters(b, config, 1);
        Gradients grads = Gradients.of(p);
        Workspace workspace = new Workspace(b);
        Tensor ids = Floats.ints(b, TinyModels.tokens(ROWS, config.vocab(), 5));
        Tensor t = Floats.ints(b, targets);
        Tensor x = b.allocate(DType.F32, Shape.of(ROWS, config.hidden()));
        Tensor dX = b.allocate(DType.F32, Shape.of(ROWS, config.hidden()));
        Tensor loss = b.allocate(DType.F32, Shape.of(ROWS))) {
      new Embedding(b, p).forward(x, ids);
      Head head = new Head(b, config, p, workspace, chunkElements);
      if (evaluate) {
        head.loss(loss, x, t);
      } else {
        head.forwardBackward(loss, dX, x, t, 0.5f, grads);
      }
      String weight = config.tied() ? ParameterNames.EMBEDDING : ParameterNames.LM_HEAD;
      return new float[][] {
        Floats.read(b, loss),
        Floats.read(b, dX),
        Floats.read(b, grads.total().tensor(weight)),
        Floats.read(b, grads.total().tensor(ParameterNames.FINAL_NORM))
      };
    }
  }

  @Test
  void chunksGiveWhatOnePieceGives() {
    for (ModelFamily family : new ModelFamily[] {ModelFamily.LLAMA, ModelFamily.QWEN2}) {
      float[][] whole = run(family, 1 << 20, false);
      float[][] chunks = run(family, 1, false);
      for (int i = 0; i < whole.length; i++) {
        assertThat(whole[i]).hasSameSizeAs(chunks[i]);
        for (int j = 0; j < whole[i].length; j++) {
          assertThat(chunks[i][j]).isCloseTo(whole[i][j], within(1e-4f));
        }
      }
      assertThat(whole[2]).isNotEqualTo(new float[whole[2].length]);
    }
  }

  @Test
  void evaluationHasTheLossesOfTraining() {
    assertThat(
            Arrays.equals(run(ModelFamily.LLAMA, 1, true)[0], run(ModelFamily.LLAMA, 1, false)[0]))
        .isTrue();
  }

  @Test
  void ignoredRowsHaveNeitherLossNorGradient() {
    float[][] result = run(ModelFamily.LLAMA, 1, false);
    int hidden = result[1].length / ROWS;
    for (int row : new int[] {7, 149}) {
      assertThat(result[0][row]).isZero();
      assertThat(Arrays.copyOfRange(result[1], row * hidden, (row + 1) * hidden)).containsOnly(0f);
    }
    assertThat(result[0][8]).isPositive();
  }
}
