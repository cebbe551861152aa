package org.mixedgpu.hetermoe.train;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.AttentionSide;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * An attention rank's part of one micro-batch: tokens, and activations of all layers until their
 * backward pass. Its tensors live as long as the resources given.
 */
final class AttentionSlice {
  /** Of the step whose tasks run. */
  Tensor ids;

  /** Of the step whose tasks run. */
  Tensor targets;

  final Tensor rowLoss;

  /** Input of each layer, then the output of the last. */
  final Tensor[] x;

  /** Gradient by the residual stream, layer after layer in place. */
  final Tensor dX;

  final AttentionSide.Saved[] saved;

  /**
   * For each layer with experts one row per choice, expert by expert. It carries in turn the tokens
   * out, the experts' results back, the gradients by these out and those by the tokens back.
   */
  final Tensor[] slots;

  /** For each layer with experts where each expert's slots begin, on the host. */
  final int[][] offsets;

  final AuxLoss aux;

  /** Of the last step, once its tasks are done. */
  double auxLoss;

  /** Sum of the losses of all rows of the last step, once its tasks are done. */
  double lossSum;

  private final TrainingBackend backend;
  private final ModelConfig model;
  private final ByteBuffer tokensOnHost;
  private final ByteBuffer lossOnHost;
  private final ByteBuffer offsetsOnHost;
  private Tensor loadedIds;
  private Tensor loadedTargets;
  private final Resources resources;

  AttentionSlice(
      TrainingBackend backend,
      Resources resources,
      ZebraJob job,
      AttentionSide[] sides,
      int sequences) {
    this.backend = backend;
    this.resources = resources;
    this.model = job.model();
    int sequence = job.plan().sequenceTokens();
    int rows = Math.multiplyExact(sequences, sequence);
    int layers = model.layers();
    int experts = model.requireMoe().experts();
    ids = own(backend.allocate(DType.I32, Shape.of(rows)));
    targets = own(backend.allocate(DType.I32, Shape.of(rows)));
    loadedIds = own(backend.allocate(DType.I32, Shape.of(rows)));
    loadedTargets = own(backend.allocate(DType.I32, Shape.of(rows)));
    rowLoss = own(backend.allocate(DType.F32, Shape.of(rows)));
    x = new Tensor[layers + 1];
    saved = new AttentionSide.Saved[layers];
    slots = new Tensor[layers];
    offsets = new int[layers][];
    for (int layer = 0; layer < layers; layer++) {
      x[layer] = reals(rows);
      saved[layer] = own(sides[layer].allocate(sequences, sequence));
      if (model.isMoe(layer)) {
        slots[layer] = reals(Math.multiplyExact(rows, model.requireMoe().topK()));
        offsets[layer] = new int[experts + 1];
      }
    }
    x[layers] = reals(rows);
    dX = reals(rows);
    aux = own(new AuxLoss(backend, model, job.auxKind(), 1f / job.plan().slices()));
    tokensOnHost = bytes(rows);
    lossOnHost = bytes(rows);
    offsetsOnHost = bytes(experts + 1);
  }

  private Tensor reals(int rows) {
    return own(backend.allocate(backend.computeType(), Shape.of(rows, model.hidden())));
  }

  private static ByteBuffer bytes(int words) {
    return ByteBuffer.allocateDirect(words * Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN);
  }

  private <T extends AutoCloseable> T own(T resource) {
    return resources.own(resource);
  }

  /**
   * Brings the tokens of the next step to the device, while this one's tasks run; returns how many
   * targets they have.
   */
  long load(int[][] tokens, int[][] nextTokens) {
    write(loadedIds, tokens, 0);
    write(loadedTargets, nextTokens, -1);
    long valid = 0;
    for (int[] sequence : nextTokens) {
      for (int target : sequence) {
        valid += target >= 0 ? 1 : 0;
      }
    }
    return valid;
  }

  /** Begins a step with the tokens that were loaded last; no task runs. */
  void takeLoaded() {
    Tensor before = ids;
    ids = loadedIds;
    loadedIds = before;
    before = targets;
    targets = loadedTargets;
    loadedTargets = before;
  }

  private void write(Tensor to, int[][] from, int least) {
    tokensOnHost.clear();
    for (int[] sequence : from) {
      for (int id : sequence) {
        if (id >= model.vocab()) {
          throw Check.badInput("Token %d is not in a vocabulary of %d", id, model.vocab());
        }
        tokensOnHost.putInt(Math.max(id, least));
      }
    }
    backend.write(to, tokensOnHost.flip());
  }

  /** Copies a layer's offsets to the host; waits for the router. */
  void readOffsets(int layer) {
    backend.read(offsetsOnHost.clear(), saved[layer].routing().offsets());
    offsetsOnHost.clear();
    offsetsOnHost.asIntBuffer().get(offsets[layer]);
  }

  /** Ends the forward pass of the balancing losses; the offsets of all layers have been read. */
  void finishAux(float lossScale) {
    auxLoss = aux.finish(lossScale, offsets);
  }

  /** Adds up the losses of all rows on the host; waits for the head. */
  void readLoss() {
    backend.read(lossOnHost.clear(), rowLoss);
    double sum = 0;
    for (int i = 0; i < lossOnHost.capacity(); i += Float.BYTES) {
      sum += lossOnHost.getFloat(i);
    }
    lossSum = sum;
  }
}
