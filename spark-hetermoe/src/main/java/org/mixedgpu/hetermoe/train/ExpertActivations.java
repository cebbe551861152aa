package org.mixedgpu.hetermoe.train;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.ExpertSide;
import org.mixedgpu.nn.Gradients;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * What the experts of one layer on one rank keep of one micro-batch. Tokens arrive source by
 * source, within a source expert by expert; the experts want them expert by expert, within an
 * expert source by source. Both orders are fixed, so the sums over rows are too.
 *
 * <p>How many rows come is up to the router. The large tensors begin at {@link #HEADROOM} times the
 * even share and grow, at most to every choice that could fall on these experts; no token is ever
 * dropped.
 */
final class ExpertActivations implements AutoCloseable {
  private static final double HEADROOM = 1.25;

  private final TrainingBackend backend;
  private final ExpertSide side;
  private final int sources;
  private final int hidden;
  private final int worst;
  private final Tensor index;
  private final Tensor inverse;
  private final Tensor offsets;
  private final int[] hostIndex;
  private final int[] hostInverse;
  private final int[] hostOffsets;
  private final int[][] counts;
  private final int[] sourceRows;
  private final ByteBuffer host;

  private int capacity;
  private Tensor inSlots;
  private ExpertSide.Saved saved;
  private int rows;

  /**
   * @param resources closes the small tensors; this object closes the ones that grow
   * @param sources attention ranks
   * @param worst rows if all choices that can fall on these experts do
   * @param expected rows if the router spreads them evenly
   */
  ExpertActivations(
      TrainingBackend backend,
      Resources resources,
      ExpertSide side,
      int sources,
      int hidden,
      int worst,
      double expected) {
    this.backend = backend;
    this.side = side;
    this.sources = sources;
    this.hidden = hidden;
    this.worst = worst;
    this.counts = new int[sources][side.experts()];
    this.sourceRows = new int[sources];
    this.hostIndex = new int[worst];
    this.hostInverse = new int[worst];
    this.hostOffsets = new int[side.experts() + 1];
    int words = Math.max(worst, hostOffsets.length);
    this.host = ByteBuffer.allocateDirect(words * Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    this.index = resources.own(backend.allocate(DType.I32, Shape.of(worst)));
    this.inverse = resources.own(backend.allocate(DType.I32, Shape.of(worst)));
    this.offsets = resources.own(backend.allocate(DType.I32, Shape.of(hostOffsets.length)));
    allocate((int) Math.min(worst, Math.ceil(HEADROOM * expected) + 1));
  }

  private void allocate(int rowsOfTensors) {
    capacity = rowsOfTensors;
    inSlots = backend.allocate(backend.computeType(), Shape.of(capacity, hidden));
    try {
      saved = side.allocate(capacity);
    } catch (RuntimeException e) {
      inSlots.close();
      throw e;
    }
  }

  /** Rows of each local expert, in order, that a source sends, from its first expert on. */
  void counts(int source, int firstExpert, int[] ofExperts, long found) {
    int sum = 0;
    for (int e = 0; e < ofExperts.length; e++) {
      counts[source][firstExpert + e] = ofExperts[e];
      sum += ofExperts[e];
    }
    Check.that(sum == found, "Attention rank %d announced %d rows and sent %d", source, sum, found);
  }

  /** Works out both orders once all counts are there; on the host, in the receiving lane. */
  void order() {
    int[] start = new int[sources];
    rows = 0;
    for (int source = 0; source < sources; source++) {
      start[source] = rows;
      sourceRows[source] = 0;
      for (int count : counts[source]) {
        sourceRows[source] += count;
      }
      rows += sourceRows[source];
    }
    int slot = 0;
    for (int expert = 0; expert < side.experts(); expert++) {
      hostOffsets[expert] = slot;
      for (int source = 0; source < sources; source++) {
        for (int i = 0; i < counts[source][expert]; i++) {
          hostIndex[slot] = start[source];
          hostInverse[start[source]] = slot;
          start[source]++;
          slot++;
        }
      }
    }
    hostOffsets[side.experts()] = slot;
  }

  /** Rows of all sources together. */
  int rows() {
    return rows;
  }

  /** Rows of experts [first, first + count) that a source sent. */
  int rows(int source, int first, int count) {
    int sum = 0;
    for (int e = first; e < first + count; e++) {
      sum += counts[source][e];
    }
    return sum;
  }

  /**
   * @param staging the rows by source; their results replace them
   * @param scratch at least as large
   */
  void forward(Tensor staging, Tensor scratch) {
    if (rows == 0) {
      return;
    }
    if (rows > capacity) {
      inSlots.close();
      saved.close();
      allocate((int) Math.min(worst, Math.max(rows, capacity * HEADROOM)));
    }
    write(index, hostIndex, rows);
    write(inverse, hostInverse, rows);
    write(offsets, hostOffsets, hostOffsets.length);
    Tensor in = inSlots.rows(0, rows);
    Tensor out = scratch.rows(0, rows);
    backend.gatherRows(in, staging.rows(0, rows), index.rows(0, rows));
    side.forward(out, saved, in, offsets);
    backend.gatherRows(staging.rows(0, rows), out, inverse.rows(0, rows));
  }

  /** As {@link #forward}, with gradients by the results, and by the rows; none without rows. */
  void backward(Tensor staging, Tensor scratch, Gradients grads) {
    if (rows == 0) {
      return;
    }
    Tensor d = scratch.rows(0, rows);
    backend.gatherRows(d, staging.rows(0, rows), index.rows(0, rows));
    side.backward(d, saved, d, offsets, grads);
    backend.gatherRows(staging.rows(0, rows), d, inverse.rows(0, rows));
  }

  private void write(Tensor to, int[] from, int count) {
    host.clear();
    host.asIntBuffer().put(from, 0, count);
    backend.write(to.rows(0, count), host.limit(count * Integer.BYTES));
  }

  @Override
  public void close() {
    inSlots.close();
    saved.close();
  }
}
