package org.mixedgpu.hetermoe.train;

import org.mixedgpu.backend.AdamWStep;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.Parameters;

/**
 * AdamW over the parameters of one member. Owns the two moments; a checkpoint stores them and the
 * number of steps taken.
 */
public final class Optimizer implements AutoCloseable {
  private final TrainingBackend backend;
  private final OptimizerConfig config;
  private final Parameters parameters;
  private final Parameters firstMoments;
  private final Parameters secondMoments;
  private long steps;

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

  /** Steps taken so far. */
  public long steps() {
    return steps;
  }

  /** Continues after so many steps; the caller has written the moments. */
  public void resumeAt(long stepsTaken) {
    Check.input(stepsTaken >= 0, "Steps taken %d is negative", stepsTaken);
    steps = stepsTaken;
  }

  /**
   * One step with the learning rate of its number; queues work only.
   *
   * @param clipFactor factor on every gradient, of the norm over all members: {@link
   *     OptimizerConfig#clipFactor}
   */
  public void step(Parameters grads, float clipFactor) {
    steps++;
    AdamWStep step =
        new AdamWStep(
            (float) config.learningRate().at(steps),
            config.beta1(),
            config.beta2(),
            config.epsilon(),
            config.weightDecay(),
            steps,
            clipFactor);
    for (Parameters.Entry entry : parameters.entries()) {
      String name = entry.name();
      backend.adamW(
          entry.tensor(),
          firstMoments.tensor(name),
          secondMoments.tensor(name),
          grads.tensor(name),
          null,
          step);
    }
  }

  @Override
  public void close() {
    firstMoments.close();
    secondMoments.close();
  }
}
