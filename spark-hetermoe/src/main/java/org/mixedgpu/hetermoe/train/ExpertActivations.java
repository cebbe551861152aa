package org.mixedgpu.hetermoe.train;

import java.nio.ByteBuffer;
import java.nio.IntBuffer;
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

  /**
   * Both orders of the rows that are here: where each expert's begin [experts + 1], for each of
   * them the row that arrived [rows], and the inverse of that [rows].
   */
  private final Tensor order;

  private final Tensor offsets;
  private final int[][] counts;
  private final int[] next;

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
    this.next = new int[sources];
    int words = Math.addExact(side.experts() + 1, Math.multiplyExact(2, worst));
    this.order = resources.own(backend.allocate(DType.I32, Shape.of(words)));
    this.offsets = order.rows(0, side.experts() + 1);
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

  /** Bytes that {@link #order} needs at most. */
  long orderBytes() {
    return order.bytes();
  }

  /** Rows of each local expert, in order, that a source sends, from its first expert on. */
  void counts(int source, int firstExpert, int[] ofExperts, long found) {
    int sum = 0;
    for (int e = 0; e < ofExperts.length; e++) {
      counts[source][firstExpert + e] = ofExperts[e];
      sum += ofExperts[e];
    }
    if (sum != found) {
      throw Check.bug("Attention rank %d announced %d rows and sent %d", source, sum, found);
    }
  }

  /**
   * Makes room for the rows once all counts are there, works out both orders and brings them to the
   * device. In the receiving lane, because all of this may have to wait for memory, which the
   * compute lane must not; one write for all takes the least of it.
   *
   * @param host of {@link #orderBytes}, used until this returns
   */
  void order(ByteBuffer host) {
    rows = 0;
    for (int source = 0; source < sources; source++) {
      next[source] = rows;
      rows += rows(source, 0, side.experts());
    }
    if (rows == 0) {
      return;
    }
    if (rows > capacity) {
      inSlots.close();
      saved.close();
      allocate((int) Math.min(worst, Math.max(rows, capacity * HEADROOM)));
    }
    IntBuffer hostOrder = host.clear().asIntBuffer();
    int index = side.experts() + 1;
    int inverse = index + rows;
    int slot = 0;
    for (int expert = 0; expert < side.experts(); expert++) {
      hostOrder.put(expert, slot);
      for (int source = 0; source < sources; source++) {
        for (int i = 0; i < counts[source][expert]; i++) {
          int row = next[source]++;
          hostOrder.put(index + slot, row);
          hostOrder.put(inverse + row, slot);
          slot++;
        }
      }
    }
    hostOrder.put(side.experts(), slot);
    int words = inverse + rows;
    backend.write(order.rows(0, words), host.limit(words * Integer.BYTES));
  }

  /** For each row in the experts' order the one that arrived. */
  private Tensor index() {
    return order.rows(side.experts() + 1, rows);
  }

  private Tensor inverse() {
    return order.rows(side.experts() + 1 + rows, rows);
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
    Tensor in = inSlots.rows(0, rows);
    Tensor out = scratch.rows(0, rows);
    backend.gatherRows(in, staging.rows(0, rows), index());
    side.forward(out, saved, in, offsets);
    backend.gatherRows(staging.rows(0, rows), out, inverse());
  }

  /** As {@link #forward}, with gradients by the results, and by the rows; none without rows. */
  void backward(Tensor staging, Tensor scratch, Gradients grads) {
    if (rows == 0) {
      return;
    }
    Tensor d = scratch.rows(0, rows);
    backend.gatherRows(d, staging.rows(0, rows), index());
    side.backward(d, saved, d, offsets, grads);
    backend.gatherRows(staging.rows(0, rows), d, inverse());
  }

  @Override
  public void close() {
    inSlots.close();
    saved.close();
  }
}
