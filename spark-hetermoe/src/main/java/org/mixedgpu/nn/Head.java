package org.mixedgpu.nn;

import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Final norm, LM head (the embedding where tied) and cross entropy, in chunks of rows, so that the
 * logits of a whole batch never exist at once.
 */
public final class Head {
  /**
   * Logits that exist at once: 128 MiB in F32. Fewer, and the weight gradient is read too often.
   */
  private static final long CHUNK_ELEMENTS = 1L << 25;

  private final TrainingBackend backend;
  private final Workspace workspace;
  private final Norm norm;
  private final String weightName;
  private final Tensor weight;
  private final int vocab;
  private final int hidden;
  private final long chunkElements;

  public Head(
      TrainingBackend backend, ModelConfig config, Parameters parameters, Workspace workspace) {
    this(backend, config, parameters, workspace, CHUNK_ELEMENTS);
  }

  Head(
      TrainingBackend backend,
      ModelConfig config,
      Parameters parameters,
      Workspace workspace,
      long chunkElements) {
    this.chunkElements = chunkElements;
    this.backend = backend;
    this.workspace = workspace;
    this.norm = new Norm(parameters, ParameterNames.FINAL_NORM, config.rmsEps());
    this.weightName = config.tied() ? ParameterNames.EMBEDDING : ParameterNames.LM_HEAD;
    this.weight = parameters.tensor(weightName);
    this.vocab = config.vocab();
    this.hidden = config.hidden();
  }

  /**
   * The loss of each row and the gradients of gradScale · Σ rowLoss.
   *
   * @param rowLoss [R]; 0 where the target is negative
   * @param dX [R,H] gradient by x; not x itself
   * @param x [R,H] output of the last layer, before the final norm
   * @param targets I32 [R] the next token of each row; negative rows are ignored
   * @param gradScale usually 1 / the valid targets of the global batch
   * @param grads gradients are added here
   */
  public void forwardBackward(
      Tensor rowLoss, Tensor dX, Tensor x, Tensor targets, float gradScale, Gradients grads) {
    long rows = x.shape().rows();
    long chunk = chunkRows(rows);
    for (long first = 0; first < rows; first += chunk) {
      long count = Math.min(chunk, rows - first);
      Tensor logits = logits(x, first, count);
      backend.crossEntropy(
          rowLoss.rows(first, count), logits, logits, targets.rows(first, count), gradScale);
      Gradients.Sum dWeight = grads.sum(weightName);
      backend.matmul(dWeight.tensor(), logits, normed(count), Transpose.TN, dWeight.beta());
      Tensor dNormed = workspace.reals("head dNormed", count, hidden);
      backend.matmul(dNormed, logits, weight, Transpose.NN, 0);
      norm.backward(
          backend, dX.rows(first, count), dNormed, x.rows(first, count), inverseRms(count), grads);
    }
  }

  /** The loss of each row: evaluation. */
  public void loss(Tensor rowLoss, Tensor x, Tensor targets) {
    long rows = x.shape().rows();
    long chunk = chunkRows(rows);
    for (long first = 0; first < rows; first += chunk) {
      long count = Math.min(chunk, rows - first);
      Tensor logits = logits(x, first, count);
      backend.crossEntropy(rowLoss.rows(first, count), null, logits, targets.rows(first, count), 0);
    }
  }

  private Tensor logits(Tensor x, long first, long count) {
    Tensor normed = normed(count);
    norm.forward(backend, normed, inverseRms(count), x.rows(first, count));
    Tensor logits = workspace.reals("head logits", count, vocab);
    backend.matmul(logits, normed, weight, Transpose.NT, 0);
    return logits;
  }

  private Tensor normed(long count) {
    return workspace.reals("head normed", count, hidden);
  }

  private Tensor inverseRms(long count) {
    return workspace.floats("head inverseRms", count, 1).view(Shape.of(count));
  }

  /** Equal chunks but for the last, so that no chunk is a small remainder. */
  private long chunkRows(long rows) {
    long most = Math.max(64, chunkElements / vocab);
    long chunks = Math.max(1, (rows + most - 1) / most);
    return Math.max(1, (rows + chunks - 1) / chunks);
  }
}
