package org.mixedgpu.nn;

import java.util.HashSet;
import java.util.Set;
import org.mixedgpu.tensor.Tensor;

/**
 * The gradients of a part of a model, F32, each the sum of what the slices of a step give.
 *
 * <p>Nothing is zeroed beforehand: the first addition of a step overwrites what the step before
 * left, which saves reading and zeroing every gradient. Layers ask for a parameter's gradient just
 * before each op that adds to it, {@link #sum} where the op can overwrite and {@link #addend} where
 * it only adds; who reads the gradients asks for {@link #total}.
 *
 * <pre>
 *   begin()   sum(name) or addend(name), once per op that gives a part   total()   ... begin()
 * </pre>
 *
 * One thread at a time, in the order of the lane that the ops are queued on. Owns its tensors.
 */
public final class Gradients implements AutoCloseable {
  /**
   * Where an op puts its part of a gradient.
   *
   * @param accumulate whether it is to be added to what this step has written there; otherwise the
   *     op must overwrite all of the tensor
   */
  public record Sum(Tensor tensor, boolean accumulate) {
    /** The same as a factor on what is there. */
    public float beta() {
      return accumulate ? 1 : 0;
    }
  }

  private final Parameters values;
  private final Set<String> written = new HashSet<>();

  private Gradients(Parameters values) {
    this.values = values;
  }

  /** Gradients by these parameters, on the same backend. */
  public static Gradients of(Parameters parameters) {
    return new Gradients(Parameters.like(parameters));
  }

  /** Starts a step: what is there no longer counts. */
  public void begin() {
    written.clear();
  }

  /** For an op that overwrites or adds, which must be the next to touch this gradient. */
  public Sum sum(String name) {
    return new Sum(values.tensor(name), !written.add(name));
  }

  /** For an op that only adds. Queues a fill where this step has not written there. */
  public Tensor addend(String name) {
    if (written.add(name)) {
      values.zero(name);
    }
    return values.tensor(name);
  }

  /**
   * All gradients of the step, zero where it has given none. Callers may change them, by scaling
   * and by sums over members. Queues work only.
   */
  public Parameters total() {
    for (Parameters.Entry entry : values.entries()) {
      addend(entry.name());
    }
    return values;
  }

  @Override
  public void close() {
    values.close();
  }
}
