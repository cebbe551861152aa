package org.mixedgpu.hetermoe.train;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.Gradients;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Trains a whole model on one device: the definition of what distributed training must compute.
 *
 * <p>A step takes a global batch of B sequences and cuts it into S slices of B/S consecutive
 * sequences. With n the targets that are not negative in the whole global batch, the gradient is
 * that of
 *
 * <pre>
 *   (1/n) · Σ over all valid targets of the cross entropy  +  (1/S) · Σ over slices of auxLoss(slice)
 * </pre>
 *
 * added up slice by slice in their order, within a slice from the last layer to the first; then
 * clipped by its global norm, then used for one AdamW step. Where the backend computes in F16, the
 * gradients are those of a scaled loss, divided by {@link LossScale}'s factor, and a step whose
 * gradients are not finite is skipped. The balancing loss is computed from the routing of a slice
 * alone, so S is part of the definition for MoE models. Nothing is allocated on the device after
 * the first step. Does not own the parameters. Not thread-safe.
 */
public final class SingleProcessTrainer implements AutoCloseable {
  private final TrainingBackend backend;
  private final TrainerConfig config;
  private final int vocab;
  private final Resources resources = new Resources();
  private final LayerStack stack;
  private final Gradients grads;
  private final Optimizer optimizer;
  private final GradientNorm norm;
  private final LossScale lossScale;

  /** Null for none. */
  private final AuxLoss aux;

  private final Tensor ids;
  private final Tensor targets;
  private final Tensor rowLoss;
  private final ByteBuffer host;

  /** Allocates everything that training needs, or fails and leaves nothing open. */
  public SingleProcessTrainer(
      TrainingBackend backend, Parameters parameters, TrainerConfig config) {
    this.backend = backend;
    this.config = config;
    this.lossScale = LossScale.of(backend.computeType());
    this.vocab = parameters.config().vocab();
    int sequences = config.batch() / config.slices();
    int rows = Math.multiplyExact(sequences, config.sequence());
    boolean balanced =
        parameters.config().moe().isPresent() && config.auxKind() != AuxLoss.Kind.NONE;
    this.host = ByteBuffer.allocateDirect(rows * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    try {
      this.stack =
          resources.own(LayerStack.allocate(backend, parameters, sequences, config.sequence()));
      this.grads = resources.own(Gradients.of(parameters));
      this.optimizer = resources.own(new Optimizer(backend, parameters, config.optimizer()));
      this.norm = resources.own(new GradientNorm(backend, parameters));
      this.aux = balanced ? resources.own(aux(parameters)) : null;
      this.ids = resources.own(backend.allocate(DType.I32, Shape.of(rows)));
      this.targets = resources.own(backend.allocate(DType.I32, Shape.of(rows)));
      this.rowLoss = resources.own(backend.allocate(DType.F32, Shape.of(rows)));
    } catch (RuntimeException e) {
      resources.close();
      throw e;
    }
  }

  private AuxLoss aux(Parameters parameters) {
    return new AuxLoss(backend, parameters.config(), config.auxKind(), 1f / config.slices());
  }

  public Optimizer optimizer() {
    return optimizer;
  }

  /** Gradients of the last step, before clipping, until the next one starts. */
  public Parameters gradients() {
    return grads.total();
  }

  /** The target of each token is the next one; the last of a sequence has none (−1). */
  public static int[][] nextTokens(int[][] ids) {
    int[][] targets = new int[ids.length][];
    for (int b = 0; b < ids.length; b++) {
      targets[b] = new int[ids[b].length];
      System.arraycopy(ids[b], 1, targets[b], 0, ids[b].length - 1);
      targets[b][ids[b].length - 1] = -1;
    }
    return targets;
  }

  /** One step on a global batch [B][T], each token predicting the next of its sequence. */
  public StepReport step(int[][] batch) {
    return step(batch, nextTokens(batch));
  }

  /**
   * One step on a global batch.
   *
   * @param batch [B][T] token ids; negative ones are padding and computed as token 0
   * @param batchTargets [B][T] the token to predict at each position; negative ones are ignored
   */
  public StepReport step(int[][] batch, int[][] batchTargets) {
    long start = System.nanoTime();
    long valid = check(batch, batchTargets);
    float scale = lossScale.factor();
    float gradScale = (float) (scale / (double) valid);
    double loss = 0;
    double auxLoss = 0;
    grads.begin();
    for (int slice = 0; slice < config.slices(); slice++) {
      load(batch, batchTargets, slice);
      stack.forward(ids, aux);
      if (aux != null) {
        auxLoss += aux.finish(scale);
      }
      stack.backward(rowLoss, ids, targets, gradScale, aux, grads);
      loss += sumOfLosses();
    }
    Parameters total = grads.total();
    total.scale(1 / scale);
    double gradNorm = Math.sqrt(norm.squared(total));
    boolean usable = lossScale.accept(gradNorm);
    if (usable) {
      optimizer.step(total, config.optimizer().clipFactor(gradNorm));
    } else {
      optimizer.skip();
    }
    backend.synchronize();
    return new StepReport(
        optimizer.steps(),
        loss / valid,
        auxLoss,
        gradNorm,
        config.optimizer().learningRate().at(optimizer.steps()),
        valid,
        (long) config.batch() * config.sequence(),
        (System.nanoTime() - start) / 1e9,
        List.of(),
        1,
        0,
        scale,
        usable);
  }

  /** Mean cross entropy over the valid targets of a global batch; changes nothing. */
  public double evaluate(int[][] batch, int[][] batchTargets) {
    long valid = check(batch, batchTargets);
    double loss = 0;
    for (int slice = 0; slice < config.slices(); slice++) {
      load(batch, batchTargets, slice);
      stack.forward(ids, null);
      stack.loss(rowLoss, targets);
      loss += sumOfLosses();
    }
    return loss / valid;
  }

  private long check(int[][] batch, int[][] batchTargets) {
    Check.input(
        batch.length == config.batch() && batchTargets.length == config.batch(),
        "The trainer was made for %d sequences; found %d with %d rows of targets",
        config.batch(),
        batch.length,
        batchTargets.length);
    long valid = 0;
    for (int b = 0; b < batch.length; b++) {
      Check.input(
          batch[b].length == config.sequence() && batchTargets[b].length == config.sequence(),
          "The trainer was made for %d tokens; sequence %d has %d and %d targets",
          config.sequence(),
          b,
          batch[b].length,
          batchTargets[b].length);
      for (int t = 0; t < batch[b].length; t++) {
        if (batch[b][t] >= vocab || batchTargets[b][t] >= vocab) {
          throw Check.badInput(
              "Token %d or target %d of sequence %d is not in a vocabulary of %d",
              batch[b][t], batchTargets[b][t], b, vocab);
        }
        valid += batchTargets[b][t] >= 0 ? 1 : 0;
      }
    }
    Check.input(valid > 0, "A batch of %d sequences has no target to learn from", batch.length);
    return valid;
  }

  private void load(int[][] batch, int[][] batchTargets, int slice) {
    int sequences = config.batch() / config.slices();
    write(ids, batch, slice * sequences, sequences, 0);
    write(targets, batchTargets, slice * sequences, sequences, -1);
  }

  private void write(Tensor to, int[][] from, int first, int sequences, int least) {
    host.clear();
    for (int b = first; b < first + sequences; b++) {
      for (int id : from[b]) {
        host.putInt(Math.max(id, least));
      }
    }
    backend.write(to, host.flip());
  }

  private double sumOfLosses() {
    backend.read(host.clear(), rowLoss);
    double sum = 0;
    for (int i = 0; i < host.capacity(); i += Float.BYTES) {
      sum += host.getFloat(i);
    }
    return sum;
  }

  @Override
  public void close() {
    resources.close();
  }
}
