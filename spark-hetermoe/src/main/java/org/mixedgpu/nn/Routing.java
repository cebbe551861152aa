package org.mixedgpu.nn;

import org.mixedgpu.backend.Backend;
import org.mixedgpu.tensor.Tensor;

/**
 * What a router decided for R rows: k experts of E each, and the order in which the R·k choices are
 * laid out by expert. F32 and I32, whatever the backend computes in. Owns its tensors.
 */
public final class Routing implements AutoCloseable {
  /** Null where another routing owns the memory. */
  private final Allocation memory;

  private final Tensor logits;
  private final Tensor probs;
  private final Tensor weights;
  private final Tensor experts;
  private final Tensor slotOf;
  private final Tensor rowOf;
  private final Tensor offsets;

  Routing(Allocation memory, int rows, MoeConfig moe) {
    int all = moe.experts();
    int k = moe.topK();
    this.memory = memory;
    this.logits = memory.floats(rows, all);
    this.probs = memory.floats(rows, all);
    this.weights = memory.floats(rows, k);
    this.experts = memory.ints(rows, k);
    this.slotOf = memory.ints(rows, k);
    this.rowOf = memory.ints((long) rows * k);
    this.offsets = memory.ints(all + 1);
  }

  /** The caller closes it. */
  static Routing allocate(Backend backend, int rows, MoeConfig moe) {
    return Allocation.of(backend, memory -> new Routing(memory, rows, moe));
  }

  private Routing(Routing of, int rows) {
    this.memory = null;
    this.logits = of.logits.rows(0, rows);
    this.probs = of.probs.rows(0, rows);
    this.weights = of.weights.rows(0, rows);
    this.experts = of.experts.rows(0, rows);
    this.slotOf = of.slotOf.rows(0, rows);
    this.rowOf = of.rowOf.rows(0, rows * of.weights.shape().dim(1));
    this.offsets = of.offsets;
  }

  int rows() {
    return (int) probs.shape().rows();
  }

  /** A routing of fewer rows in the same memory; only this one is closed. */
  Routing first(int rows) {
    return new Routing(this, rows);
  }

  /** [R,E] before the softmax. */
  public Tensor logits() {
    return logits;
  }

  /** [R,E] softmax of the logits. */
  public Tensor probs() {
    return probs;
  }

  /** [R,k] factors on the experts' outputs. */
  public Tensor weights() {
    return weights;
  }

  /** I32 [R,k] the chosen experts. */
  public Tensor experts() {
    return experts;
  }

  /** I32 [R,k] the slot of each choice. */
  public Tensor slotOf() {
    return slotOf;
  }

  /** I32 [R·k] the row in each slot. */
  public Tensor rowOf() {
    return rowOf;
  }

  /** I32 [E+1] the first slot of each expert, then R·k. */
  public Tensor offsets() {
    return offsets;
  }

  @Override
  public void close() {
    if (memory != null) {
      memory.close();
    }
  }
}
