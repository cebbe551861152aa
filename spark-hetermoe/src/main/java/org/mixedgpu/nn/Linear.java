package org.mixedgpu.nn;

import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.tensor.Tensor;

/** out = in · weightᵀ (+ bias), with weight [N,K] as checkpoints store it. */
final class Linear {
  private final String weightName;
  private final String biasName;
  private final Tensor weight;
  private final Tensor bias;

  /** The parameters {@code name.weight} and, where there is one, {@code name.bias}. */
  Linear(Parameters parameters, String name) {
    this.weightName = name + ".weight";
    this.biasName = name + ".bias";
    this.weight = parameters.tensor(weightName);
    this.bias = parameters.find(biasName).orElse(null);
  }

  /** out = product + beta · out. */
  void forward(Backend b, Tensor out, Tensor in, float beta) {
    b.matmul(out, in, weight, Transpose.NT, beta);
    if (bias != null) {
      b.addBias(out, bias);
    }
  }

  /** dIn = dOut · weight + beta · dIn. */
  void inputGradient(TrainingBackend b, Tensor dIn, Tensor dOut, float beta) {
    b.matmul(dIn, dOut, weight, Transpose.NN, beta);
  }

  void parameterGradient(TrainingBackend b, Tensor dOut, Tensor in, Gradients grads) {
    Gradients.Sum dWeight = grads.sum(weightName);
    b.matmul(dWeight.tensor(), dOut, in, Transpose.TN, dWeight.beta());
    if (bias != null) {
      b.addBiasBackward(grads.addend(biasName), dOut);
    }
  }
}
