package org.mixedgpu.nn;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * The router's balancing loss and z-loss of one micro-batch. The order of use is: {@link #collect}
 * for each MoE layer once its routing is known, {@link #finish} before the micro-batch's backward
 * pass starts (the Hugging Face kind needs the counts of all layers), then {@link
 * AttentionSide#backward} reads the derivatives. These may be done on different lanes, where events
 * put them in that order. One object per micro-batch in flight; after its backward pass it can be
 * used for the next.
 *
 * <p>With f the choices of an expert per row and P its mean probability, both over the rows of a
 * layer (PER_LAYER) or of all MoE layers (HUGGING_FACE):
 *
 * <ul>
 *   <li>HUGGING_FACE: coefficient · E · Σ f·P, pooled over layers, k at perfect balance; z-loss:
 *       the mean of logsumexp² over rows and layers;
 *   <li>PER_LAYER (Megatron): Σ over layers of coefficient · E · Σ (f/k)·P, 1 per layer at perfect
 *       balance; z-loss: the mean of logsumexp² over rows, summed over layers.
 * </ul>
 */
public final class AuxLoss implements AutoCloseable {
  /** Which definition; see the class. */
  public enum Kind {
    /** None, whatever the coefficients say. */
    NONE,
    HUGGING_FACE,
    PER_LAYER
  }

  private final TrainingBackend backend;
  private final ModelConfig config;
  private final MoeConfig moe;
  private final Kind kind;
  private final float share;

  /** For each decoder layer its row in the tensors below; -1 for dense layers. */
  private final int[] moeRow;

  private final Routing[] routings;
  private final Tensor tables;
  private final Tensor probSums;
  private final Tensor derivatives;
  private final ByteBuffer sumsOnHost;
  private final ByteBuffer offsetsOnHost;
  private ByteBuffer logitsOnHost = bytes(0);
  private long rows;
  private float lossScale;

  /**
   * @param share factor on value and derivatives: 1 / the micro-batches of the global batch
   */
  public AuxLoss(TrainingBackend backend, ModelConfig config, Kind kind, float share) {
    this.backend = backend;
    this.config = config;
    this.moe = config.requireMoe();
    this.kind = kind;
    this.share = share;
    this.moeRow = new int[config.layers()];
    int layers = 0;
    for (int layer = 0; layer < moeRow.length; layer++) {
      moeRow[layer] = config.isMoe(layer) ? layers++ : -1;
    }
    Check.input(kind != Kind.NONE, "No balancing loss was asked for");
    Check.input(layers > 0, "A model without MoE layers has no balancing loss");
    this.routings = new Routing[layers];
    this.tables = backend.allocate(DType.F32, Shape.of(2L * layers, moe.experts()));
    this.probSums = tables.rows(0, layers);
    this.derivatives = tables.rows(layers, layers);
    this.sumsOnHost = bytes((int) probSums.bytes());
    this.offsetsOnHost = bytes((moe.experts() + 1) * Integer.BYTES);
  }

  private static ByteBuffer bytes(int size) {
    return ByteBuffer.allocateDirect(size).order(ByteOrder.LITTLE_ENDIAN);
  }

  /**
   * Takes the probabilities of a layer now, and its counts in {@link #finish}: the routing must
   * keep its contents until then. Queues work only.
   */
  public void collect(int layer, Routing routing) {
    if (!config.isMoe(layer)) {
      throw Check.bug("Layer %d has no router", layer);
    }
    routings[moeRow[layer]] = routing;
    rows = routing.probs().shape().rows();
    backend.sumRows(expertRow(probSums, moeRow[layer]), routing.probs());
  }

  private Tensor expertRow(Tensor tensor, int row) {
    return tensor.rows(row, 1).view(Shape.of(moe.experts()));
  }

  /**
   * The loss, coefficients and share included; makes the derivatives. Waits for the device.
   *
   * @param lossScale factor on the derivatives; not on the loss that is returned
   */
  public double finish(float lossScale) {
    int[][] offsets = new int[config.layers()][];
    for (int layer = 0; layer < offsets.length; layer++) {
      if (moe.auxCoefficient() != 0 && config.isMoe(layer)) {
        offsets[layer] = new int[moe.experts() + 1];
        backend.read(offsetsOnHost.clear(), routings[moeRow[layer]].offsets());
        offsetsOnHost.clear().asIntBuffer().get(offsets[layer]);
      }
    }
    return finish(lossScale, offsets);
  }

  /**
   * As above, where the host has the routings' offsets already.
   *
   * @param offsets by decoder layer; of dense layers they are not looked at
   */
  public double finish(float lossScale, int[][] offsets) {
    this.lossScale = lossScale;
    double loss = 0;
    if (moe.auxCoefficient() != 0) {
      double[][] counts = counts(offsets);
      double[][] probs = probs();
      loss += kind == Kind.HUGGING_FACE ? pooled(counts, probs) : perLayer(counts, probs);
      sumsOnHost.clear();
      backend.write(derivatives, sumsOnHost);
    }
    if (moe.zCoefficient() != 0) {
      double squares = 0;
      for (Routing routing : routings) {
        squares += squaredLogSumExp(routing);
      }
      loss += 0.5 * unscaledZ() * squares;
    }
    return loss;
  }

  /** Leaves the derivatives in sumsOnHost. */
  private double pooled(double[][] counts, double[][] probs) {
    double all = (double) rows * routings.length;
    double factor = (double) share * moe.auxCoefficient() * moe.experts();
    double loss = 0;
    for (int e = 0; e < moe.experts(); e++) {
      double count = 0;
      double prob = 0;
      for (int row = 0; row < routings.length; row++) {
        count += counts[row][e];
        prob += probs[row][e];
      }
      loss += factor * (count / all) * (prob / all);
      for (int row = 0; row < routings.length; row++) {
        put(row, e, factor * (count / all) / all);
      }
    }
    return loss;
  }

  /** Leaves the derivatives in sumsOnHost. */
  private double perLayer(double[][] counts, double[][] probs) {
    double choices = (double) rows * moe.topK();
    double factor = (double) share * moe.auxCoefficient() * moe.experts();
    double loss = 0;
    for (int row = 0; row < routings.length; row++) {
      for (int e = 0; e < moe.experts(); e++) {
        double derivative = factor * (counts[row][e] / choices) / rows;
        loss += derivative * probs[row][e];
        put(row, e, derivative);
      }
    }
    return loss;
  }

  private void put(int row, int expert, double derivative) {
    sumsOnHost.putFloat(
        (row * moe.experts() + expert) * Float.BYTES, (float) (derivative * lossScale));
  }

  private double[][] counts(int[][] offsets) {
    double[][] counts = new double[routings.length][moe.experts()];
    for (int layer = 0; layer < moeRow.length; layer++) {
      for (int e = 0; moeRow[layer] >= 0 && e < moe.experts(); e++) {
        counts[moeRow[layer]][e] = offsets[layer][e + 1] - offsets[layer][e];
      }
    }
    return counts;
  }

  private double[][] probs() {
    backend.read(sumsOnHost.clear(), probSums);
    double[][] probs = new double[routings.length][moe.experts()];
    for (int row = 0; row < routings.length; row++) {
      for (int e = 0; e < moe.experts(); e++) {
        probs[row][e] = sumsOnHost.getFloat((row * moe.experts() + e) * Float.BYTES);
      }
    }
    return probs;
  }

  private double squaredLogSumExp(Routing routing) {
    if (logitsOnHost.capacity() < routing.logits().bytes()) {
      logitsOnHost = bytes((int) routing.logits().bytes());
    }
    logitsOnHost.clear().limit((int) routing.logits().bytes());
    backend.read(logitsOnHost, routing.logits());
    double squares = 0;
    for (int r = 0; r < rows; r++) {
      int first = r * moe.experts() * Float.BYTES;
      double most = Double.NEGATIVE_INFINITY;
      for (int e = 0; e < moe.experts(); e++) {
        most = Math.max(most, logitsOnHost.getFloat(first + e * Float.BYTES));
      }
      double sum = 0;
      for (int e = 0; e < moe.experts(); e++) {
        sum += Math.exp(logitsOnHost.getFloat(first + e * Float.BYTES) - most);
      }
      double logSumExp = most + Math.log(sum);
      squares += logSumExp * logSumExp;
    }
    return squares;
  }

  /** Derivative by the router's probabilities, [E], equal for all rows; null where it is zero. */
  Tensor byExpert(int layer) {
    return moe.auxCoefficient() == 0 ? null : expertRow(derivatives, moeRow[layer]);
  }

  /** Factor on logsumexp · probability in the derivative by the logits. */
  float zScale() {
    return unscaledZ() * lossScale;
  }

  private float unscaledZ() {
    long terms = kind == Kind.HUGGING_FACE ? rows * routings.length : rows;
    return moe.zCoefficient() == 0 ? 0 : 2 * share * moe.zCoefficient() / terms;
  }

  @Override
  public void close() {
    tables.close();
  }
}
