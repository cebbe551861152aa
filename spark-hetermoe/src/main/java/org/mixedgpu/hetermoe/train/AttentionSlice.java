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
  final Tensor ids;
  final Tensor targets;
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
  double auxLoss;

  private final TrainingBackend backend;
  private final ModelConfig model;
  private final ByteBuffer host;
  private final ByteBuffer offsetsOnHost;
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
    host = bytes(rows);
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

  /** Takes the tokens of a step; returns how many targets they have. */
  long load(int[][] tokens, int[][] nextTokens) {
    write(ids, tokens, 0);
    write(targets, nextTokens, -1);
    long valid = 0;
    for (int[] sequence : nextTokens) {
      for (int target : sequence) {
        valid += target >= 0 ? 1 : 0;
      }
    }
    return valid;
  }

  private void write(Tensor to, int[][] from, int least) {
    host.clear();
    for (int[] sequence : from) {
      for (int id : sequence) {
        Check.input(id < model.vocab(), "Token %d is not in a vocabulary of %d", id, model.vocab());
        host.putInt(Math.max(id, least));
      }
    }
    backend.write(to, host.flip());
  }

  /** Copies a layer's offsets to the host; waits for the router. */
  void readOffsets(int layer) {
    backend.read(offsetsOnHost.clear(), saved[layer].routing().offsets());
    offsetsOnHost.clear();
    offsetsOnHost.asIntBuffer().get(offsets[layer]);
  }

  /** Sum of the losses of all rows, after a step. */
  double lossSum() {
    backend.read(host.clear(), rowLoss);
    double sum = 0;
    for (int i = 0; i < host.capacity(); i += Float.BYTES) {
      sum += host.getFloat(i);
    }
    return sum;
  }
}
