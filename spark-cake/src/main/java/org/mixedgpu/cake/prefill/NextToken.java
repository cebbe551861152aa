package org.mixedgpu.cake.prefill;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.KvCache;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** Logits and last hidden state on the host, in F32 whatever the backend computes in. */
final class NextToken implements AutoCloseable {
  private final DecoderModel model;
  private final Backend backend;

  /** All tensors, or those that there was memory for. */
  private final List<Tensor> open = new ArrayList<>();

  private final Tensor hiddenRow;

  /** The hidden row in F32: the same tensor where the backend computes in it. */
  private final Tensor hiddenFloats;

  private final Tensor logitsRow;
  private final ByteBuffer host;
  private final float[] hidden;
  private final float[] logits;

  NextToken(DecoderModel model) {
    this.model = model;
    backend = model.backend();
    int vocab = model.config().vocab();
    int width = model.config().hidden();
    host =
        ByteBuffer.allocateDirect(Math.max(vocab, width) * Float.BYTES)
            .order(ByteOrder.LITTLE_ENDIAN);
    hidden = new float[width];
    logits = new float[vocab];
    try {
      hiddenRow = allocate(backend.computeType(), width);
      hiddenFloats = backend.computeType() == DType.F32 ? hiddenRow : allocate(DType.F32, width);
      logitsRow = allocate(DType.F32, vocab);
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  private Tensor allocate(DType type, int width) {
    Tensor row = backend.allocate(type, Shape.of(1, width));
    open.add(row);
    return row;
  }

  void compute(int[] tokens, int from, KvCache cache) {
    model.prefill(tokens, from, tokens.length - from, cache, hiddenRow);
    model.logits(logitsRow, hiddenRow);
    read(logitsRow, logits);
    if (hiddenFloats != hiddenRow) {
      backend.copy(hiddenFloats, hiddenRow);
    }
    read(hiddenFloats, hidden);
  }

  /** Leaves the prompt's logits and state as they are. */
  double score(int[] prompt, int[] continuation, KvCache cache) {
    int[] all = Arrays.copyOf(prompt, prompt.length + continuation.length);
    System.arraycopy(continuation, 0, all, prompt.length, continuation.length);
    double sum = LogProbabilities.of(logits, continuation[0]);
    float[] row = new float[logits.length];
    for (int i = 1; i < continuation.length; i++) {
      model.prefill(all, prompt.length + i - 1, 1, cache, hiddenRow);
      model.logits(logitsRow, hiddenRow);
      read(logitsRow, row);
      sum += LogProbabilities.of(row, continuation[i]);
    }
    return sum;
  }

  private void read(Tensor from, float[] to) {
    ByteBuffer bytes = host.clear().limit(to.length * Float.BYTES);
    backend.read(bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN), from);
    host.asFloatBuffer().get(to);
  }

  float[] logits() {
    return logits;
  }

  float[] hidden() {
    return hidden;
  }

  @Override
  public void close() {
    open.forEach(Tensor::close);
  }
}
