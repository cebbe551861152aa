package org.mixedgpu.nn;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Inference with a whole model on one backend. Not thread-safe: one prefill at a time. Does not own
 * the parameters. Temporary memory grows to the largest chunk computed and then stays.
 */
public final class DecoderModel implements AutoCloseable {
  /** One decoder layer; one of dense and sparse is null. */
  private record Layer(
      SelfAttention attention, Norm norm, FeedForward dense, MoeInference sparse) {}

  private final Backend backend;
  private final ModelConfig config;
  private final RopeTables rope;
  private final Workspace workspace;
  private final Layer[] layers;
  private final Norm finalNorm;
  private final Tensor embedding;
  private final Tensor head;
  private Tensor ids;

  /** As large as ids. */
  private ByteBuffer host;

  private Routing routing;

  private DecoderModel(Backend backend, ModelConfig config, Parameters p, RopeTables rope) {
    this.backend = backend;
    this.config = config;
    this.embedding = p.tensor(ParameterNames.EMBEDDING);
    this.head = config.tied() ? embedding : p.tensor(ParameterNames.LM_HEAD);
    this.finalNorm = new Norm(p, ParameterNames.FINAL_NORM, config.rmsEps());
    this.rope = rope;
    this.workspace = new Workspace(backend);
    this.layers = new Layer[config.layers()];
    for (int i = 0; i < layers.length; i++) {
      layers[i] = layer(p, i);
    }
  }

  private Layer layer(Parameters p, int i) {
    Norm norm =
        new Norm(p, ParameterNames.layer(i, "post_attention_layernorm.weight"), config.rmsEps());
    SelfAttention attention = new SelfAttention(config, i, p, rope);
    return config.isMoe(i)
        ? new Layer(attention, norm, null, new MoeInference(config, i, p))
        : new Layer(
            attention,
            norm,
            new FeedForward(p, ParameterNames.layer(i, "mlp"), config.intermediate()),
            null);
  }

  /**
   * @param parameters of the whole model, on this backend; the caller closes them later
   * @param maxPositions longest sequence to be computed
   */
  public static DecoderModel open(
      Backend backend, ModelConfig config, Parameters parameters, int maxPositions) {
    Check.input(maxPositions > 0, "Longest sequence %d is not positive", maxPositions);
    RopeTables rope = new RopeTables(backend, config, maxPositions);
    try {
      return new DecoderModel(backend, config, parameters, rope);
    } catch (RuntimeException e) {
      rope.close();
      throw e;
    }
  }

  public ModelConfig config() {
    return config;
  }

  public Backend backend() {
    return backend;
  }

  /** Longest sequence that can be computed. */
  public int maxPositions() {
    return rope.positions();
  }

  /** A cache for one sequence; the caller closes it. */
  public KvCache cache(int capacity) {
    return new KvCache(backend, config, capacity);
  }

  /**
   * Computes tokens [first, first + count), given that the cache holds [0, first), and writes their
   * keys and values into the cache. Equal (first, count), tokens and cache bits give equal keys and
   * values, bit for bit, whoever computed the cache; with an equal n also equal hidden rows.
   *
   * @param tokens the sequence from position 0 on
   * @param hidden [n,H] of the compute type, n at most count: the last n rows after the final norm;
   *     null for none. The smaller n, the more of the last layer is saved.
   */
  public void prefill(int[] tokens, int first, int count, KvCache cache, Tensor hidden) {
    checkRange(tokens, first, count, cache, hidden);
    int end = first + count;
    Tensor x = workspace.reals("x", count, config.hidden());
    Tensor normed = workspace.reals("normed", count, config.hidden());
    embed(x, tokens, first, count);
    for (int i = 0; i < layers.length; i++) {
      SelfAttention attention = layers[i].attention();
      Tensor keys = cache.keys(i);
      Tensor values = cache.values(i);
      attention.keysAndValues(
          backend, keys.rows(first, count), values.rows(first, count), normed, x, first);
      if (i == layers.length - 1) {
        // The rest of the last layer matters only to rows whose output is asked for.
        int rows = hidden == null ? 0 : (int) hidden.shape().rows();
        if (rows == 0) {
          return;
        }
        x = x.rows(count - rows, rows);
        normed = normed.rows(count - rows, rows);
      }
      int position = end - (int) x.shape().rows();
      attention.attend(
          backend, workspace, x, normed, keys.rows(0, end), values.rows(0, end), position);
      layers[i].norm().forward(backend, normed, null, x);
      feedForward(layers[i], x, normed);
    }
    finalNorm.forward(backend, hidden, null, x);
  }

  private void feedForward(Layer layer, Tensor x, Tensor normed) {
    if (layer.dense() != null) {
      layer.dense().forward(backend, workspace, x, normed, 1);
    } else {
      layer.sparse().forward(backend, workspace, routing((int) x.shape().rows()), x, normed);
    }
  }

  private void checkRange(int[] tokens, int first, int count, KvCache cache, Tensor hidden) {
    int end = first + count;
    Check.input(
        first >= 0 && count > 0 && end <= tokens.length,
        "Tokens [%d, %d) are not in a sequence of %d",
        first,
        end,
        tokens.length);
    Check.input(
        end <= cache.capacity() && end <= rope.positions(),
        "Position %d needs a KV cache and a model opened for as many; the cache has %d, the model"
            + " %d",
        end,
        cache.capacity(),
        rope.positions());
    Check.input(
        hidden == null || hidden.shape().rows() <= count,
        "A chunk of %d tokens has no %d output rows",
        count,
        hidden == null ? 0 : hidden.shape().rows());
  }

  private void embed(Tensor x, int[] tokens, int first, int count) {
    if (ids == null || ids.shape().rows() < count) {
      if (ids != null) {
        backend.synchronize();
        ids.close();
        ids = null;
      }
      ids = backend.allocate(DType.I32, Shape.of(count));
      host = ByteBuffer.allocateDirect(count * Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    }
    host.clear();
    for (int i = 0; i < count; i++) {
      int id = tokens[first + i];
      Check.input(
          id >= 0 && id < config.vocab(),
          "Token %d at position %d is not in a vocabulary of %d",
          id,
          first + i,
          config.vocab());
      host.putInt(id);
    }
    Tensor view = ids.rows(0, count);
    backend.write(view, host.flip());
    backend.gatherRows(x, embedding, view);
  }

  private Routing routing(int rows) {
    if (routing == null || routing.rows() < rows) {
      if (routing != null) {
        backend.synchronize();
        routing.close();
        routing = null;
      }
      routing = Routing.allocate(backend, rows, config.requireMoe());
    }
    return routing.first(rows);
  }

  /** logits [n,V] of hidden [n,H]; F32 logits are not rounded, whatever the compute type. */
  public void logits(Tensor logits, Tensor hidden) {
    backend.matmul(logits, hidden, head, Transpose.NT, 0);
  }

  @Override
  public void close() {
    rope.close();
    workspace.close();
    if (ids != null) {
      ids.close();
    }
    if (routing != null) {
      routing.close();
    }
  }
}
