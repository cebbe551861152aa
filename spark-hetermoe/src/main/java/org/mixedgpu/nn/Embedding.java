package org.mixedgpu.nn;

import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.Tensor;

/** Token embedding. */
public final class Embedding {
  private final TrainingBackend backend;
  private final Tensor table;

  public Embedding(TrainingBackend backend, Parameters parameters) {
    this.backend = backend;
    this.table = parameters.tensor(ParameterNames.EMBEDDING);
  }

  /** x [R,H] = the rows of the table that ids (I32 [R]) name. */
  public void forward(Tensor x, Tensor ids) {
    backend.gatherRows(x, table, ids);
  }

  /** Adds dX [R,H] to the gradient of the table. */
  public void backward(Tensor dX, Tensor ids, Gradients grads) {
    backend.scatterAddRows(grads.addend(ParameterNames.EMBEDDING), dX, ids);
  }
}
