package org.mixedgpu.hetermoe.train.verify;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.train.SingleProcessTrainer;
import org.mixedgpu.hetermoe.train.StepReport;
import org.mixedgpu.hetermoe.train.TrainerConfig;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.MoeConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.nn.checkpoint.NamedNorms;
import org.mixedgpu.nn.checkpoint.WeightDifference;
import org.mixedgpu.nn.safetensors.Safetensors;
import org.mixedgpu.nn.verify.Compared;
import org.mixedgpu.tensor.Shape;

/**
 * Replays a recorded training run: {@code train.json}, {@code train_ids} [steps,B,T] beside the
 * recorded logits, and {@code final.safetensors} beside the former.
 */
public final class TrainingVerification {
  /** AdamW magnifies rounding where a gradient is nearly zero, so a few weights may be off. */
  private static final double SHARE_OUTSIDE = 1e-3;

  private static final int MOST_SLICES = 4;
  private static final String RELATIVE = "relative difference";

  private TrainingVerification() {}

  /**
   * Trains and reports each comparison. Losses must agree within a tenth of the tolerance,
   * relative; gradient norms within the tolerance, relative; the final weights must have an RMS
   * difference of at most a tenth of the tolerance, and 99.9 % of them must be within it.
   *
   * <p>A router's choice is a jump: where two experts are equally probable to the last bits,
   * rounding decides, and from there two correct runs are different runs. Where a mixture of
   * experts does not agree to the end, it is therefore trained again with its batch in 2 and in 4
   * slices, which changes nothing but the order of sums, and the first run that agrees counts. With
   * a balancing loss there is one slicing only, since slices are part of its definition.
   *
   * @param model folder of the model before training
   * @param reference safetensors file with {@code train_ids}
   * @param train path of the {@code train.json}
   * @return slices of the run that was reported
   */
  public static int run(
      FileStore files,
      String model,
      String reference,
      String train,
      TrainingBackend backend,
      double tolerance,
      Consumer<Compared> report) {
    RecordedTraining recorded = RecordedTraining.read(files, train);
    String last = train.substring(0, train.lastIndexOf('/') + 1) + "final.safetensors";
    ModelConfig config = Checkpoint.config(files, model);
    AuxLoss.Kind aux = auxKind(recorded, config);
    boolean slices = config.moe().isPresent() && aux == AuxLoss.Kind.NONE;
    int[][][] batches = batches(files, reference, recorded);
    List<Compared> first = null;
    for (int count = 1; count <= (slices ? MOST_SLICES : 1); count *= 2) {
      if (recorded.batch() % count != 0) {
        continue;
      }
      List<Compared> found = new ArrayList<>();
      try (Parameters parameters = Checkpoint.loadForTraining(files, model, backend, Part.all())) {
        replay(recorded, batches, count, aux, backend, parameters, tolerance, found::add);
        finalWeights(files, last, recorded, backend, parameters, tolerance, found::add);
      }
      if (found.stream().allMatch(Compared::within)) {
        found.forEach(report);
        return count;
      }
      first = first == null ? found : first;
    }
    first.forEach(report);
    return 1;
  }

  private static void finalWeights(
      FileStore files,
      String path,
      RecordedTraining recorded,
      TrainingBackend backend,
      Parameters parameters,
      double tolerance,
      Consumer<Compared> report) {
    WeightDifference difference = WeightDifference.of(files, path, backend, parameters, tolerance);
    report.accept(
        new Compared(
            "weights after " + recorded.steps() + " steps",
            "RMS difference",
            difference.rms(),
            tolerance / 10));
    report.accept(
        new Compared(
            "weights further off, most in " + difference.worst(),
            "share",
            1 - difference.shareWithin(),
            SHARE_OUTSIDE));
  }

  private static void replay(
      RecordedTraining recorded,
      int[][][] batches,
      int slices,
      AuxLoss.Kind aux,
      TrainingBackend backend,
      Parameters parameters,
      double tolerance,
      Consumer<Compared> report) {
    TrainerConfig settings =
        new TrainerConfig(recorded.batch(), recorded.sequence(), slices, recorded.optimizer(), aux);
    try (SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, settings)) {
      for (int step = 0; step < recorded.steps(); step++) {
        StepReport done = trainer.step(batches[step]);
        report.accept(
            relative("loss " + step, done.loss(), recorded.losses()[step], tolerance / 10));
        if (recorded.auxLosses().length > 0) {
          report.accept(
              relative(
                  "balancing loss " + step, done.auxLoss(), recorded.auxLosses()[step], tolerance));
        }
        report.accept(
            relative(
                "gradient norm " + step,
                done.gradientNorm(),
                recorded.gradNorms()[step],
                tolerance));
        if (step == 0) {
          firstNorms(
              NamedNorms.of(backend, trainer.gradients()),
              recorded.firstNorms(),
              tolerance,
              report);
        }
      }
    }
  }

  private static void firstNorms(
      Map<String, Double> ours,
      Map<String, Double> theirs,
      double tolerance,
      Consumer<Compared> report) {
    theirs.forEach(
        (name, norm) -> {
          Check.input(
              ours.containsKey(name), "grad_norms_step0 names %s, which the model lacks", name);
          report.accept(relative(name + " gradient 0", ours.get(name), norm, tolerance));
        });
  }

  /** The recorded loss must be the one that the model's config asks for. */
  private static AuxLoss.Kind auxKind(RecordedTraining recorded, ModelConfig config) {
    double coefficient = config.moe().map(MoeConfig::auxCoefficient).orElse(0f);
    if (recorded.auxCoefficient() == 0) {
      return AuxLoss.Kind.NONE;
    }
    Check.input(
        (float) recorded.auxCoefficient() == (float) coefficient,
        "The run was recorded with a balancing coefficient of %s; the model's config has %s",
        recorded.auxCoefficient(),
        coefficient);
    return AuxLoss.Kind.HUGGING_FACE;
  }

  private static int[][][] batches(FileStore files, String reference, RecordedTraining recorded) {
    try (Safetensors tensors = Safetensors.open(files, reference)) {
      Shape expected = Shape.of(recorded.steps(), recorded.batch(), recorded.sequence());
      Shape found = tensors.entry("train_ids").shape();
      Check.input(
          found.equals(expected),
          "%s: train_ids has shape %s; train.json asks for %s",
          reference,
          found,
          expected);
      int[] ids = tensors.ints("train_ids");
      int[][][] batches = new int[recorded.steps()][recorded.batch()][];
      for (int i = 0; i < recorded.steps() * recorded.batch(); i++) {
        batches[i / recorded.batch()][i % recorded.batch()] =
            Arrays.copyOfRange(ids, i * recorded.sequence(), (i + 1) * recorded.sequence());
      }
      return batches;
    }
  }

  private static Compared relative(String name, double ours, double theirs, double limit) {
    double difference = ours == theirs ? 0 : Math.abs(ours - theirs) / Math.abs(theirs);
    return new Compared(name, RELATIVE, difference, limit);
  }
}
