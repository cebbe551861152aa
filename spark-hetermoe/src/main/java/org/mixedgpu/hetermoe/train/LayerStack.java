package org.mixedgpu.hetermoe.train;

import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.nn.AttentionSide;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.Embedding;
import org.mixedgpu.nn.ExpertSide;
import org.mixedgpu.nn.Gradients;
import org.mixedgpu.nn.Head;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.RopeTables;
import org.mixedgpu.nn.Routing;
import org.mixedgpu.nn.Workspace;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * A whole model with the activations of one slice of batch · sequence tokens: the forward pass of
 * all layers, then the backward pass of all layers, on one device.
 */
final class LayerStack implements AutoCloseable {
  /** One layer; expert things are null in a dense layer. */
  private record Layer(
      AttentionSide side,
      AttentionSide.Saved saved,
      ExpertSide experts,
      ExpertSide.Saved expertsSaved,
      Tensor inSlots,
      Tensor outSlots) {}

  private final ModelConfig config;
  private final Embedding embedding;
  private final Head head;
  private final RopeTables rope;
  private final Workspace workspace;
  private final Layer[] layers;

  /** Input of each layer, then the output of the last. */
  private final Tensor[] x;

  private final Tensor dX;
  private final Resources resources;

  private LayerStack(
      Resources resources,
      TrainingBackend backend,
      Parameters parameters,
      int batch,
      int sequence) {
    this.resources = resources;
    config = parameters.config();
    workspace = own(new Workspace(backend));
    rope = own(new RopeTables(backend, config, sequence));
    embedding = new Embedding(backend, parameters);
    head = new Head(backend, config, parameters, workspace);
    int rows = Math.multiplyExact(batch, sequence);
    layers = new Layer[config.layers()];
    x = new Tensor[layers.length + 1];
    for (int i = 0; i < layers.length; i++) {
      x[i] = rows(backend, rows);
      layers[i] = layer(backend, parameters, i, batch, sequence);
    }
    x[layers.length] = rows(backend, rows);
    dX = rows(backend, rows);
  }

  /** All memory, or none where it does not suffice. */
  static LayerStack allocate(
      TrainingBackend backend, Parameters parameters, int batch, int sequence) {
    Resources resources = new Resources();
    try {
      return new LayerStack(resources, backend, parameters, batch, sequence);
    } catch (RuntimeException e) {
      resources.close();
      throw e;
    }
  }

  private Layer layer(
      TrainingBackend backend, Parameters parameters, int i, int batch, int sequence) {
    AttentionSide side = new AttentionSide(backend, config, i, parameters, rope, workspace);
    AttentionSide.Saved saved = own(side.allocate(batch, sequence));
    if (!config.isMoe(i)) {
      return new Layer(side, saved, null, null, null, null);
    }
    int slots = Math.multiplyExact(batch * sequence, config.requireMoe().topK());
    ExpertSide experts = new ExpertSide(backend, config, i, parameters, workspace);
    return new Layer(
        side,
        saved,
        experts,
        own(experts.allocate(slots)),
        rows(backend, slots),
        rows(backend, slots));
  }

  private Tensor rows(TrainingBackend backend, int rows) {
    return own(backend.allocate(backend.computeType(), Shape.of(rows, config.hidden())));
  }

  private <T extends AutoCloseable> T own(T resource) {
    return resources.own(resource);
  }

  /**
   * @param ids I32 [R]
   * @param aux null for none
   */
  void forward(Tensor ids, AuxLoss aux) {
    embedding.forward(x[0], ids);
    for (int i = 0; i < layers.length; i++) {
      Layer layer = layers[i];
      layer.side.forward(layer.saved, x[i]);
      if (layer.experts != null) {
        if (aux != null) {
          aux.collect(i, layer.saved.routing());
        }
        layer.side.dispatch(layer.inSlots, layer.saved);
        layer.experts.forward(
            layer.outSlots, layer.expertsSaved, layer.inSlots, layer.saved.routing().offsets());
      }
      layer.side.combine(x[i + 1], layer.saved, layer.outSlots);
    }
  }

  /** What the router of a layer decided in the last forward pass; null for a dense layer. */
  Routing routing(int layer) {
    return layers[layer].saved.routing();
  }

  /** Loss of each row, after {@link #forward}. */
  void loss(Tensor rowLoss, Tensor targets) {
    head.loss(rowLoss, x[layers.length], targets);
  }

  /** Loss of each row and all gradients, after {@link #forward} and the aux loss's finish. */
  void backward(
      Tensor rowLoss, Tensor ids, Tensor targets, float gradScale, AuxLoss aux, Gradients grads) {
    head.forwardBackward(rowLoss, dX, x[layers.length], targets, gradScale, grads);
    for (int i = layers.length - 1; i >= 0; i--) {
      Layer layer = layers[i];
      if (layer.experts != null) {
        Tensor d = layer.outSlots;
        layer.side.combineBackward(d, layer.saved, dX);
        layer.experts.backward(d, layer.expertsSaved, d, layer.saved.routing().offsets(), grads);
      }
      layer.side.backward(dX, layer.saved, dX, layer.outSlots, grads, aux);
    }
    embedding.backward(dX, ids, grads);
  }

  @Override
  public void close() {
    resources.close();
  }
}
