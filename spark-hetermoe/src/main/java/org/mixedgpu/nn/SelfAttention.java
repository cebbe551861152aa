package org.mixedgpu.nn;

import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.Tensor;

/** The first half of a decoder layer: norm, projections, QK-norm, RoPE, attention, output. */
final class SelfAttention {
  private final ModelConfig config;
  private final int layer;
  private final RopeTables rope;
  private final Norm norm;
  private final Linear query;
  private final Linear key;
  private final Linear value;
  private final Linear output;
  private final Norm queryNorm;
  private final Norm keyNorm;

  SelfAttention(ModelConfig config, int layer, Parameters p, RopeTables rope) {
    this.config = config;
    this.layer = layer;
    this.rope = rope;
    this.norm = norm(p, "input_layernorm.weight");
    this.query = new Linear(p, ParameterNames.layer(layer, "self_attn.q_proj"));
    this.key = new Linear(p, ParameterNames.layer(layer, "self_attn.k_proj"));
    this.value = new Linear(p, ParameterNames.layer(layer, "self_attn.v_proj"));
    this.output = new Linear(p, ParameterNames.layer(layer, "self_attn.o_proj"));
    boolean normed = config.qkNorm() != QkNorm.NONE;
    this.queryNorm = normed ? norm(p, "self_attn.q_norm.weight") : null;
    this.keyNorm = normed ? norm(p, "self_attn.k_norm.weight") : null;
  }

  private Norm norm(Parameters p, String name) {
    return new Norm(p, ParameterNames.layer(layer, name), config.rmsEps());
  }

  private AttentionShape shape(int batch) {
    return new AttentionShape(
        batch,
        config.heads(),
        config.kvHeads(),
        config.headDim(),
        (float) Math.pow(config.headDim(), -0.5),
        config.slidingWindow(layer));
  }

  // --- inference ------------------------------------------------------------------------------

  /**
   * Keys and values of rows x at positions from first on, into k and v; normed gets the normed
   * rows.
   */
  void keysAndValues(Backend b, Tensor k, Tensor v, Tensor normed, Tensor x, int first) {
    norm.forward(b, normed, null, x);
    key.forward(b, k, normed, 0);
    value.forward(b, v, normed, 0);
    if (keyNorm != null) {
      keyNorm.forward(b, k, null, k);
    }
    rotate(b, k, first, (int) x.shape().rows(), false);
  }

  /**
   * x += attention of rows whose normed values are given, the last ones of one sequence.
   *
   * @param k [positions up to the last row, kvHeads·D]
   * @param first position of the first row
   */
  void attend(Backend b, Workspace w, Tensor x, Tensor normed, Tensor k, Tensor v, int first) {
    long rows = x.shape().rows();
    Tensor q = w.reals("q", rows, config.queryWidth());
    Tensor mixed = w.reals("attention", rows, config.queryWidth());
    query.forward(b, q, normed, 0);
    if (queryNorm != null) {
      queryNorm.forward(b, q, null, q);
    }
    rotate(b, q, first, (int) rows, false);
    b.attention(mixed, null, q, k, v, shape(1));
    output.forward(b, x, mixed, 1);
  }

  // --- training -------------------------------------------------------------------------------

  /** residual = x + attention, over whole sequences from position 0 on. */
  void forward(TrainingBackend b, Tensor residual, Saved s, Tensor x) {
    norm.forward(b, s.normed, s.inverseRms, x);
    project(b, query, queryNorm, s.q, s.rawQ, s.queryInverseRms, s);
    project(b, key, keyNorm, s.k, s.rawK, s.keyInverseRms, s);
    value.forward(b, s.v, s.normed, 0);
    b.attention(s.mixed, s.logSumExp, s.q, s.k, s.v, s.shape);
    b.copy(residual, x);
    output.forward(b, residual, s.mixed, 1);
  }

  private void project(
      Backend b, Linear linear, Norm headNorm, Tensor out, Tensor raw, Tensor rms, Saved s) {
    if (headNorm == null) {
      linear.forward(b, out, s.normed, 0);
    } else {
      linear.forward(b, raw, s.normed, 0);
      headNorm.forward(b, out, rms, raw);
    }
    rotate(b, out, 0, s.sequence, false);
  }

  /** dX = dResidual + gradient through attention; dX may be dResidual. */
  void backward(
      TrainingBackend b,
      Workspace w,
      Tensor dX,
      Saved s,
      Tensor x,
      Tensor dResidual,
      Gradients grads) {
    long rows = x.shape().rows();
    Tensor dMixed = w.reals("attention", rows, config.queryWidth());
    Tensor dQ = w.reals("dQ", rows, config.queryWidth());
    Tensor dK = w.reals("dK", rows, config.kvWidth());
    Tensor dV = w.reals("dV", rows, config.kvWidth());
    Tensor dNormed = w.reals("dNormed", rows, config.hidden());
    output.parameterGradient(b, dResidual, s.mixed, grads);
    output.inputGradient(b, dMixed, dResidual, 0);
    b.attentionBackward(dQ, dK, dV, dMixed, s.q, s.k, s.v, s.mixed, s.logSumExp, s.shape);
    rotate(b, dQ, 0, s.sequence, true);
    rotate(b, dK, 0, s.sequence, true);
    if (queryNorm != null) {
      queryNorm.backward(b, dQ, dQ, s.rawQ, s.queryInverseRms, grads);
      keyNorm.backward(b, dK, dK, s.rawK, s.keyInverseRms, grads);
    }
    query.parameterGradient(b, dQ, s.normed, grads);
    key.parameterGradient(b, dK, s.normed, grads);
    value.parameterGradient(b, dV, s.normed, grads);
    query.inputGradient(b, dNormed, dQ, 0);
    key.inputGradient(b, dNormed, dK, 1);
    value.inputGradient(b, dNormed, dV, 1);
    norm.backward(b, dNormed, dNormed, x, s.inverseRms, grads);
    b.add(dX, dResidual, dNormed);
  }

  private void rotate(Backend b, Tensor x, int first, int sequence, boolean inverse) {
    b.rope(x, config.headDim(), rope.cos(), rope.sin(), first, sequence, inverse);
  }

  Saved allocate(Allocation memory, int batch, int sequence) {
    return new Saved(memory, this, batch, sequence);
  }

  /** Activations for the backward pass. */
  static final class Saved {
    private final int sequence;
    private final AttentionShape shape;
    private final Tensor normed;
    private final Tensor inverseRms;
    private final Tensor rawQ;
    private final Tensor rawK;
    private final Tensor queryInverseRms;
    private final Tensor keyInverseRms;
    private final Tensor q;
    private final Tensor k;
    private final Tensor v;
    private final Tensor mixed;
    private final Tensor logSumExp;

    private Saved(Allocation memory, SelfAttention attention, int batch, int sequence) {
      ModelConfig c = attention.config;
      Norm queryNorm = attention.queryNorm;
      long rows = (long) batch * sequence;
      boolean normed = queryNorm != null;
      this.sequence = sequence;
      this.shape = attention.shape(batch);
      this.normed = memory.reals(rows, c.hidden());
      this.inverseRms = memory.floats(rows);
      this.rawQ = normed ? memory.reals(rows, c.queryWidth()) : null;
      this.rawK = normed ? memory.reals(rows, c.kvWidth()) : null;
      this.queryInverseRms = normed ? memory.floats(queryNorm.groups(rows, c.queryWidth())) : null;
      this.keyInverseRms =
          normed ? memory.floats(attention.keyNorm.groups(rows, c.kvWidth())) : null;
      this.q = memory.reals(rows, c.queryWidth());
      this.k = memory.reals(rows, c.kvWidth());
      this.v = memory.reals(rows, c.kvWidth());
      this.mixed = memory.reals(rows, c.queryWidth());
      this.logSumExp = memory.floats(rows, c.heads());
    }
  }
}
