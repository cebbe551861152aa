package org.mixedgpu.backend.cpu;

import jdk.incubator.vector.FloatVector;

/** SwiGLU on arrays. */
final class Activation {
  private static final int LANES = Maths.LANES;

  private Activation() {}

  /** gate = silu(gate) · up. */
  static void swiglu(float[] gate, float[] up, int count) {
    int i = 0;
    for (; i <= count - LANES; i += LANES) {
      FloatVector z = FloatVector.fromArray(Maths.FLOATS, gate, i);
      FloatVector u = FloatVector.fromArray(Maths.FLOATS, up, i);
      z.mul(Maths.sigmoid(z)).mul(u).intoArray(gate, i);
    }
    for (; i < count; i++) {
      gate[i] = gate[i] * Maths.sigmoid(gate[i]) * up[i];
    }
  }

  /** gate becomes dGate, up becomes dUp: silu'(z) = s(z) · (1 + z − silu(z)), s the sigmoid. */
  static void swigluBackward(float[] dOut, float[] gate, float[] up, int count) {
    int i = 0;
    for (; i <= count - LANES; i += LANES) {
      FloatVector d = FloatVector.fromArray(Maths.FLOATS, dOut, i);
      FloatVector z = FloatVector.fromArray(Maths.FLOATS, gate, i);
      FloatVector u = FloatVector.fromArray(Maths.FLOATS, up, i);
      FloatVector sigmoid = Maths.sigmoid(z);
      FloatVector silu = z.mul(sigmoid);
      FloatVector slope = sigmoid.mul(z.add(1f).sub(silu));
      d.mul(u).mul(slope).intoArray(gate, i);
      d.mul(silu).intoArray(up, i);
    }
    for (; i < count; i++) {
      float sigmoid = Maths.sigmoid(gate[i]);
      float silu = gate[i] * sigmoid;
      float slope = sigmoid * (gate[i] + 1f - silu);
      gate[i] = dOut[i] * up[i] * slope;
      up[i] = dOut[i] * silu;
    }
  }
}
