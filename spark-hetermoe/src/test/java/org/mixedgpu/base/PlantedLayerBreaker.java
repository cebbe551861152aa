package org.mixedgpu.base;

/** Looks up from layer 0, for LayersTest. */
public final class PlantedLayerBreaker {
  org.mixedgpu.tensor.Tensor tensor;
}
