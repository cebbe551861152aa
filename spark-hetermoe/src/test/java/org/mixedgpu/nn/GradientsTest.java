package org.mixedgpu.nn;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.Tensor;

/** Who writes first overwrites, and what nobody writes is zero, whatever was there before. */
class GradientsTest {
  private static final String NORM = ParameterNames.FINAL_NORM;
  private static final String WEIGHT = ParameterNames.EMBEDDING;

  private TrainingBackend b;
  private Parameters parameters;
  private Gradients grads;

  @BeforeEach
  void open() {
    b = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
    parameters = Parameters.allocate(b, TinyModels.of(ModelFamily.QWEN2), Part.all());
    grads = Gradients.of(parameters);
    for (Parameters.Entry entry : grads.total().entries()) {
      b.fill(entry.tensor(), Float.NaN);
    }
    grads.begin();
  }

  @AfterEach
  void close() {
    grads.close();
    parameters.close();
    b.close();
  }

  @Test
  void theFirstSumOfAStepOverwrites() {
    assertThat(grads.sum(WEIGHT).accumulate()).isFalse();
    Gradients.Sum second = grads.sum(WEIGHT);
    assertThat(second.accumulate()).isTrue();
    assertThat(second.beta()).isEqualTo(1);
    // Who was to overwrite it has not.
    assertThat(Floats.read(b, second.tensor())).containsOnly(Float.NaN);
    assertThat(grads.sum(NORM).beta()).isZero();
    grads.begin();
    assertThat(grads.sum(WEIGHT).accumulate()).isFalse();
  }

  @Test
  void whatIsOnlyAddedToIsZeroAtFirst() {
    Tensor norm = grads.addend(NORM);
    assertThat(Floats.read(b, norm)).containsOnly(0);
    b.fill(norm, 3);
    assertThat(Floats.read(b, grads.addend(NORM))).containsOnly(3);
    // A tied embedding: the head overwrites, the lookup's backward pass adds.
    b.fill(grads.sum(WEIGHT).tensor(), 2);
    assertThat(Floats.read(b, grads.addend(WEIGHT))).containsOnly(2);
    grads.begin();
    assertThat(Floats.read(b, grads.addend(NORM))).containsOnly(0);
  }

  @Test
  void whatNobodyWroteIsZeroInTheTotal() {
    b.fill(grads.sum(WEIGHT).tensor(), 2);
    Parameters total = grads.total();
    assertThat(total.size()).isEqualTo(parameters.size());
    for (Parameters.Entry entry : total.entries()) {
      assertThat(Floats.read(b, entry.tensor())).containsOnly(entry.name().equals(WEIGHT) ? 2 : 0);
    }
    total.scale(2);
    b.fill(total.tensor(NORM), 5);
    // Sums over members were made in place.
    assertThat(Floats.read(b, grads.total().tensor(WEIGHT))).containsOnly(4);
    assertThat(Floats.read(b, grads.total().tensor(NORM))).containsOnly(5);
    grads.begin();
    assertThat(Floats.read(b, grads.total().tensor(NORM))).containsOnly(0);
  }
}
