package org.mixedgpu.hetermoe.train;

import org.mixedgpu.backend.AdamWStep;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.tensor.Tensor;

/**
 * AdamW over the masters of one member's parameters, and their working copies. Owns the two
 * moments; a checkpoint stores them and the numbers of steps and updates.
 */
public final class Optimizer implements AutoCloseable {
  private final TrainingBackend backend;
  private final OptimizerConfig config;
  private final Parameters parameters;
  private final Parameters firstMoments;
  private final Parameters secondMoments;
  private long steps;
  private long updates;

  public Optimizer(TrainingBackend backend, Parameters parameters, OptimizerConfig config) {
    this.backend = backend;
    this.config = config;
    this.parameters = parameters;
    this.firstMoments = Parameters.like(parameters);
    this.secondMoments = second(firstMoments);
  }

  /** Frees the first moments where there is no memory for the second. */
  private static Parameters second(Parameters first) {
    try {
      return Parameters.like(first);
    } catch (RuntimeException e) {
      first.close();
      throw e;
    }
  }

  public OptimizerConfig config() {
    return config;
  }

  public Parameters firstMoments() {
    return firstMoments;
  }

  public Parameters secondMoments() {
    return secondMoments;
  }

  /** Steps so far, skipped ones included: what the learning rate depends on. */
  public long steps() {
    return steps;
  }

  /** Steps that were not skipped: what AdamW's bias correction depends on. */
  public long updates() {
    return updates;
  }

  /** Continues after so many steps; the caller has written the moments. */
  public void resumeAt(long stepsSoFar, long updatesMade) {
    Check.input(
        updatesMade >= 0 && stepsSoFar >= updatesMade,
        "There can't be %d updates in %d steps",
        updatesMade,
        stepsSoFar);
    steps = stepsSoFar;
    updates = updatesMade;
  }

  /** Passes over a step whose gradients can't be used. */
  public void skip() {
    steps++;
  }

  /**
   * One step with the learning rate of its number; queues work only.
   *
   * @param clipFactor factor on every gradient, of the norm over all members: {@link
   *     OptimizerConfig#clipFactor}
   */
  public void step(Parameters grads, float clipFactor) {
    steps++;
    updates++;
    AdamWStep step =
        new AdamWStep(
            (float) config.learningRate().at(steps),
            config.beta1(),
            config.beta2(),
            config.epsilon(),
            config.weightDecay(),
            updates,
            clipFactor);
    for (Parameters.Entry entry : parameters.entries()) {
      String name = entry.name();
      Tensor master = parameters.master(name);
      backend.adamW(
          master,
          firstMoments.tensor(name),
          secondMoments.tensor(name),
          grads.tensor(name),
          entry.tensor() == master ? null : entry.tensor(),
          step);
    }
  }

  @Override
  public void close() {
    firstMoments.close();
    secondMoments.close();
  }
}
