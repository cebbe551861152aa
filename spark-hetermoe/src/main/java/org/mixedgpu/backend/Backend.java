package org.mixedgpu.backend;

import java.nio.ByteBuffer;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * The arithmetic of a forward pass on one device. Every op writes into an output that the caller
 * allocated and none allocates; an output may not overlap an input unless the op says so. Ops
 * called on a {@link Lane}'s thread go to that lane, in order; elsewhere they go to the default
 * lane of this backend. Only {@link #read} and {@link #synchronize} wait for the device. Same
 * inputs, same shapes, same device: same bits, always, also between a cold and a warm JVM; on a GPU
 * while the same groups of NCCL are joined, to which it leaves a part of itself.
 *
 * <p>Shapes: R rows (tokens), H model width, N and K matrix extents, E experts, k experts per
 * token, V vocabulary, D head size. Wrong shapes or types are a {@code BAD_INPUT} with both shapes.
 *
 * <p>Types: T is the {@link #computeType}. Operands are T unless an op names another type; what an
 * op calls F32 is F32 on every backend. Whatever the type, sums are made in F32 or wider and each
 * element of a T output is rounded once, to nearest even; only attention may also round what is
 * inside it, the probabilities and their gradients, to T, and a matmul that adds to its output the
 * product.
 *
 * <p>Values of an index tensor that are out of range are a {@code BAD_INPUT} too. A device cannot
 * tell before it has run the op: there the next {@link #read} or {@link #synchronize} fails, and
 * until then nothing out of bounds was read or written.
 */
public interface Backend extends AutoCloseable {
  /** For reports and logs, such as {@code cpu (OpenBLAS 0.3.31, 2 threads)}. */
  String name();

  BackendKind kind();

  /**
   * F32, BF16 or F16: the type T of activations, of the weights that ops multiply them by, and of
   * gradients by activations. Fixed when the backend is opened.
   */
  DType computeType();

  // --- memory -------------------------------------------------------------------------------

  /** A zeroed tensor; the caller closes it. {@code EXHAUSTED} when over the backend's limit. */
  Tensor allocate(DType type, Shape shape);

  /** Bytes allocated and not closed, and the most that were at one time. */
  MemoryUse memoryUse();

  /**
   * Host to device: the buffer's remaining bytes, little-endian, exactly the tensor's size. They
   * are copied when this returns, and may be overwritten.
   */
  void write(Tensor to, ByteBuffer from);

  /** Device to host: fills the buffer's remaining bytes, exactly the tensor's size; waits. */
  void read(ByteBuffer to, Tensor from);

  /** Opens another lane; the caller closes it. */
  Lane lane(String name);

  /**
   * The same for work that others wait for, such as messages: a device that has work of several
   * lanes starts this one's first.
   */
  default Lane urgentLane(String name) {
    return lane(name);
  }

  /** Waits for the lane whose thread calls, elsewhere for the default lane. */
  void synchronize();

  /**
   * The moment at which the lane whose thread calls, elsewhere the default lane, has done all work
   * and all waits queued by now. Does not wait for it. The caller closes it.
   */
  Stamp stamp();

  // --- element-wise and copies ----------------------------------------------------------------

  /** out = value; out is T or F32. */
  void fill(Tensor out, float value);

  /**
   * Same shape, any type; converts between F32, F16 and BF16 (round to nearest even) where types
   * differ.
   */
  void copy(Tensor out, Tensor in);

  /** out = a + b; out may be a or b. All are T, or all F32. */
  void add(Tensor out, Tensor a, Tensor b);

  /** x = x · factor; x is T or F32. */
  void scale(Tensor x, float factor);

  /** x[R,N] += bias[N] in every row. */
  void addBias(Tensor x, Tensor bias);

  /** out[R,N] = silu(gate) · up, silu(z) = z / (1 + e^-z); out may be gate or up. */
  void swiglu(Tensor out, Tensor gate, Tensor up);

  /** out[R,H] += sigmoid(gate[R]) · x[R,H]: the gated shared expert of Qwen2-MoE. */
  void addGated(Tensor out, Tensor x, Tensor gate);

  // --- rows -----------------------------------------------------------------------------------

  /**
   * out[i] = in[index[i]]; index is I32 [rows of out]; out and in are both T or both F32. Embedding
   * lookup and expert dispatch.
   */
  void gatherRows(Tensor out, Tensor in, Tensor index);

  /**
   * out[r] (+)= Σ_j weights[r,j] · slots[slotOf[r,j]], summed in order of j. The combine of a
   * mixture of experts, and with null weights (all 1) the backward of its dispatch.
   *
   * @param out [R,H]
   * @param slots [R·k,H]
   * @param slotOf I32 [R,k]
   * @param weights F32 [R,k] or null for ones
   * @param accumulate false overwrites out, true adds to it
   */
  void combineRows(Tensor out, Tensor slots, Tensor slotOf, Tensor weights, boolean accumulate);

  // --- matrices -------------------------------------------------------------------------------

  /**
   * out = product + beta · out, sums in F32 or wider; beta 0 overwrites, also NaN. With another
   * beta and a T output the product may be rounded to T before it is added.
   *
   * @param out T or F32
   * @param a T or F32
   * @param b of a's type
   */
  void matmul(Tensor out, Tensor a, Tensor b, Transpose transpose, float beta);

  /**
   * One product per expert over consecutive groups of rows; group e has rows [offsets[e],
   * offsets[e+1]) and may be empty. NT: out[rows_e,N] = in[rows_e,K] · w[e,N,K]ᵀ (forward). NN:
   * out[rows_e,K] = in[rows_e,N] · w[e,N,K] (data gradient). Rows outside all groups keep their
   * contents.
   *
   * @param w [E,N,K]
   * @param offsets I32 [E+1], ascending
   */
  void groupedMatmul(Tensor out, Tensor in, Tensor w, Tensor offsets, Transpose transpose);

  // --- transformer ----------------------------------------------------------------------------

  /**
   * out = x · inverseRms · gain per row of length N, inverseRms = (mean(x²) + epsilon)^-½.
   *
   * @param out [R,N], may be x
   * @param inverseRms F32 [R] saved for the backward pass, or null
   * @param gain F32 [N]: gains stay near 1, where 16 bits are too coarse for the steps of training
   */
  void rmsNorm(Tensor out, Tensor inverseRms, Tensor x, Tensor gain, float epsilon);

  /**
   * Rotary position embedding in place, half-split (Hugging Face's rotate_half): row r of a
   * sequence of {@code sequence} rows has position firstPosition + r mod sequence.
   *
   * @param x [R, heads·D]
   * @param cos F32 [positions, D/2], attention scaling included
   * @param sin F32 [positions, D/2]
   * @param inverse rotates back: the backward pass
   */
  void rope(
      Tensor x,
      int headDim,
      Tensor cos,
      Tensor sin,
      int firstPosition,
      int sequence,
      boolean inverse);

  /**
   * Causal attention, grouped queries, mask aligned at the bottom right: of each sequence, query i
   * of Tq sees keys j ≤ i + Tk − Tq (and j &gt; i + Tk − Tq − window). Chunked prefill has Tk &gt;
   * Tq.
   *
   * @param out [batch·Tq, queryHeads·D]
   * @param logSumExp F32 [batch·Tq, queryHeads] saved for the backward pass, or null
   * @param q [batch·Tq, queryHeads·D]
   * @param k [batch·Tk, kvHeads·D]
   * @param v [batch·Tk, kvHeads·D]
   */
  void attention(Tensor out, Tensor logSumExp, Tensor q, Tensor k, Tensor v, AttentionShape shape);

  // --- router ---------------------------------------------------------------------------------

  /**
   * probs = softmax(logits); the k largest probabilities per row, descending, ties to the lower
   * expert index; with renormalise their weights are divided by their sum.
   *
   * @param probs F32 [R,E]
   * @param weights F32 [R,k]
   * @param experts I32 [R,k]
   * @param logits F32 [R,E]
   */
  void routerTopK(Tensor probs, Tensor weights, Tensor experts, Tensor logits, boolean renormalise);

  /**
   * Groups the R·k choices by expert: expert-major, within an expert by row, then by j.
   *
   * @param slotOf I32 [R,k]: the slot of choice (r,j)
   * @param rowOf I32 [R·k]: the row r in each slot
   * @param offsets I32 [E+1]: the first slot of each expert, then R·k
   * @param experts I32 [R,k], each in [0,E)
   */
  void sortByExpert(Tensor slotOf, Tensor rowOf, Tensor offsets, Tensor experts);

  // --- loss -----------------------------------------------------------------------------------

  /**
   * rowLoss[r] = −log softmax(logits[r])[targets[r]], 0 where the target is negative (ignored).
   *
   * @param rowLoss F32 [R]
   * @param dLogits [R,V] = gradScale · d(Σ rowLoss)/d logits, 0 in ignored rows; may be logits;
   *     null for evaluation
   * @param targets I32 [R]
   */
  void crossEntropy(Tensor rowLoss, Tensor dLogits, Tensor logits, Tensor targets, float gradScale);

  /** Releases the device. Throws with number, bytes and origin if tensors are still open. */
  @Override
  void close();
}
