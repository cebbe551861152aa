package org.mixedgpu.backend.cpu;

import java.util.Arrays;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.HostTensor;

/** Ops that treat each element alike: blocks are copied to the heap, computed there, and back. */
final class CpuElementwise {
  /** Elements per copy: four such arrays are half of a first-level cache of 32 KiB. */
  static final int TILE = 1024;

  /** Elements that are worth another thread. */
  static final int GRAIN = 16384;

  private final Workers workers;

  CpuElementwise(Workers workers) {
    this.workers = workers;
  }

  void fill(HostTensor out, float value) {
    CpuBackend.CHECKS.fill(out);
    float[] tile = new float[TILE];
    Arrays.fill(tile, value);
    tiles(out, (at, count) -> out.store(at, tile, 0, count));
  }

  void copy(HostTensor out, HostTensor in) {
    CpuBackend.CHECKS.copy(out, in);
    if (out.type() == in.type()) {
      tiles(out, (at, count) -> out.copy(at, in, at, count));
      return;
    }
    tiles(out, (at, count) -> convert(out, in, at, count));
  }

  private static void convert(HostTensor out, HostTensor in, long at, int count) {
    float[] tile = Scratch.ofThread().array(0, TILE);
    if (in.type() == DType.F32) {
      in.load(at, tile, 0, count);
    } else {
      for (int i = 0; i < count; i++) {
        tile[i] = Conversion.toFloat(in.type(), in.int16(at + i));
      }
    }
    if (out.type() == DType.F32) {
      out.store(at, tile, 0, count);
    } else {
      for (int i = 0; i < count; i++) {
        out.int16(at + i, Conversion.fromFloat(out.type(), tile[i]));
      }
    }
  }

  void add(HostTensor out, HostTensor a, HostTensor b) {
    CpuBackend.CHECKS.add(out, a, b);
    tiles(
        out,
        (at, count) -> {
          float[] x = Scratch.ofThread().array(0, TILE);
          float[] y = Scratch.ofThread().array(1, TILE);
          a.load(at, x, 0, count);
          b.load(at, y, 0, count);
          for (int i = 0; i < count; i++) {
            x[i] += y[i];
          }
          out.store(at, x, 0, count);
        });
  }

  void scale(HostTensor x, float factor) {
    CpuBackend.CHECKS.scale(x);
    tiles(
        x,
        (at, count) -> {
          float[] tile = Scratch.ofThread().array(0, TILE);
          x.load(at, tile, 0, count);
          for (int i = 0; i < count; i++) {
            tile[i] *= factor;
          }
          x.store(at, tile, 0, count);
        });
  }

  void swiglu(HostTensor out, HostTensor gate, HostTensor up) {
    CpuBackend.CHECKS.swiglu(out, gate, up);
    tiles(
        out,
        (at, count) -> {
          float[] g = Scratch.ofThread().array(0, TILE);
          float[] u = Scratch.ofThread().array(1, TILE);
          gate.load(at, g, 0, count);
          up.load(at, u, 0, count);
          Activation.swiglu(g, u, count);
          out.store(at, g, 0, count);
        });
  }

  void swigluBackward(
      HostTensor dGate,
      HostTensor dUp,
      HostTensor product,
      HostTensor dOut,
      HostTensor gate,
      HostTensor up) {
    CpuBackend.CHECKS.swigluBackward(dGate, dUp, product, dOut, gate, up);
    tiles(
        dOut,
        (at, count) -> {
          Scratch scratch = Scratch.ofThread();
          float[] d = scratch.array(0, TILE);
          float[] g = scratch.array(1, TILE);
          float[] u = scratch.array(2, TILE);
          float[] p = scratch.array(3, TILE);
          dOut.load(at, d, 0, count);
          gate.load(at, g, 0, count);
          up.load(at, u, 0, count);
          System.arraycopy(g, 0, p, 0, count);
          Activation.swiglu(p, u, count);
          Activation.swigluBackward(d, g, u, count);
          dGate.store(at, g, 0, count);
          dUp.store(at, u, 0, count);
          product.store(at, p, 0, count);
        });
  }

  private interface Tile {
    void accept(long at, int count);
  }

  private void tiles(HostTensor shape, Tile body) {
    workers.rows(
        shape.shape().elements(),
        1,
        GRAIN,
        (from, to) -> {
          for (long at = from; at < to; at += TILE) {
            body.accept(at, (int) Math.min(TILE, to - at));
          }
        });
  }
}
