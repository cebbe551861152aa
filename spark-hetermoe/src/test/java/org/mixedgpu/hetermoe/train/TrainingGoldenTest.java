package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.Floats;
import org.mixedgpu.nn.Golden;
import org.mixedgpu.nn.GoldenCase;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.checkpoint.Checkpoint;

/**
 * Losses, gradients and weights of all steps against PyTorch, with the global batch in one and two
 * slices, which sum in other orders.
 *
 * <p>A router's choice is a jump: where two experts are equally probable to the last bits, rounding
 * decides, and from there two correct runs are different runs. In these batches the closest calls
 * are 1e-6 apart. Therefore each slicing must agree before the first such fork and stay near after
 * it, and one of them must agree to the end.
 */
class TrainingGoldenTest {
  @TempDir private Path folder;

  /** The caller closes it. */
  static TrainingBackend cpu() {
    return Backends.cpu(new CpuOptions(2, Long.MAX_VALUE));
  }

  static List<String> trained() {
    return Golden.cases().stream().filter(Golden::isTrained).toList();
  }

  @ParameterizedTest
  @MethodSource("trained")
  void everyStepAgreesWithPyTorch(String name) {
    GoldenCase golden = new GoldenCase(name);
    String trained = golden.trainedModel(folder).toString();
    // The balancing loss of a slice is not that of the batch.
    boolean aux = golden.training().path("aux_loss_coef").asDouble() != 0;
    int whole = 0;
    for (int slices : aux ? new int[] {1} : new int[] {1, 2}) {
      whole += agrees(golden, slices, trained) ? 1 : 0;
    }
    assertThat(whole).as("slicings that agree to the last step").isPositive();
  }

  /** Whether what is tested agrees with every step, in F32. */
  boolean agrees(GoldenCase golden, int slices, String trained) {
    return agreesToTheEnd(cpu(), golden, slices, trained);
  }

  /** Closes the backend. */
  static boolean agreesToTheEnd(
      TrainingBackend backend, GoldenCase golden, int slices, String trained) {
    JsonNode run = golden.training();
    int batch = run.get("batch").asInt();
    int[][] ids = golden.tokens("train_ids");
    OptimizerConfig adamW =
        new OptimizerConfig(
            LearningRate.constant(run.get("lr").asDouble()),
            (float) run.get("betas").get(0).asDouble(),
            (float) run.get("betas").get(1).asDouble(),
            (float) run.get("eps").asDouble(),
            (float) run.get("weight_decay").asDouble(),
            run.get("grad_clip_norm").asDouble());
    TrainerConfig config =
        new TrainerConfig(
            batch,
            run.get("seq").asInt(),
            slices,
            adamW,
            run.path("aux_loss_coef").asDouble() != 0
                ? AuxLoss.Kind.HUGGING_FACE
                : AuxLoss.Kind.NONE);
    try (TrainingBackend b = backend;
        Parameters p =
            Checkpoint.load(GoldenCase.FILES, golden.folder().toString(), b, Part.all());
        SingleProcessTrainer trainer = new SingleProcessTrainer(b, p, config);
        Parameters expected = Checkpoint.load(GoldenCase.FILES, trained, b, Part.all())) {
      boolean agrees = true;
      for (int step = 0; step < run.get("steps").asInt(); step++) {
        StepReport report = trainer.step(Arrays.copyOfRange(ids, step * batch, (step + 1) * batch));
        double loss = report.loss() / run.get("losses").get(step).asDouble() - 1;
        double norm =
            report.gradientNorm() / run.get("total_grad_norm_before_clip").get(step).asDouble() - 1;
        assertThat(loss).as("loss of step %d, relative", step).isCloseTo(0, within(1e-3));
        if (step < 6) {
          assertThat(loss).as("loss of step %d, relative", step).isCloseTo(0, within(1e-5));
          assertThat(norm).as("gradient of step %d, relative", step).isCloseTo(0, within(1e-4));
        }
        agrees &= Math.abs(loss) <= 1e-5 && Math.abs(norm) <= 1e-4;
        if (run.has("aux_losses")) {
          double aux = run.get("aux_losses").get(step).asDouble();
          assertThat(report.auxLoss())
              .as("balancing loss of step %d", step)
              .isCloseTo(aux, within(1e-5 * aux));
        }
        if (step == 0) {
          assertGradients(b, trainer.gradients(), run.get("grad_norms_step0"));
        }
      }
      if (agrees) {
        assertWeights(b, p, expected);
      }
      return agrees;
    }
  }

  private static void assertGradients(TrainingBackend b, Parameters grads, JsonNode norms) {
    Iterator<String> names = norms.fieldNames();
    int compared = 0;
    while (names.hasNext()) {
      String name = names.next();
      double norm;
      if (name.endsWith("experts.gate_up_proj")) {
        String stem = name.substring(0, name.length() - "gate_up_proj".length());
        norm = Math.hypot(norm(b, grads, stem + "gate_proj"), norm(b, grads, stem + "up_proj"));
      } else {
        norm = norm(b, grads, name);
      }
      assertThat(norm)
          .as("norm of the gradient of %s", name)
          .isCloseTo(norms.get(name).asDouble(), within(1e-4 * norms.get(name).asDouble()));
      compared++;
    }
    assertThat(compared).isGreaterThan(15);
  }

  private static double norm(TrainingBackend b, Parameters grads, String name) {
    double sum = 0;
    for (float x : Floats.read(b, grads.tensor(name))) {
      sum += (double) x * x;
    }
    return Math.sqrt(sum);
  }

  private static void assertWeights(TrainingBackend b, Parameters p, Parameters expected) {
    double squares = 0;
    long close = 0;
    for (Parameters.Entry entry : p.entries()) {
      float[] ours = Floats.read(b, entry.tensor());
      float[] theirs = Floats.read(b, expected.tensor(entry.name()));
      for (int i = 0; i < ours.length; i++) {
        double difference = (double) ours[i] - theirs[i];
        squares += difference * difference;
        close += Math.abs(difference) < 1e-4 ? 1 : 0;
      }
    }
    assertThat(Math.sqrt(squares / p.elements())).as("RMS difference").isLessThan(1e-5);
    assertThat((double) close / p.elements()).as("share within 1e-4").isGreaterThan(0.999);
  }
}
