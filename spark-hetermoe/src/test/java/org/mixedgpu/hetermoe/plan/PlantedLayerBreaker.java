package org.mixedgpu.hetermoe.plan;

/** A plan with I/O and a clock, for LayersTest. */
public final class PlantedLayerBreaker {
  java.io.File file;

  long now() {
    return System.nanoTime();
  }
}
