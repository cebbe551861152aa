package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Locale;
import org.junit.jupiter.api.Tag;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.nn.GoldenCase;
import org.mixedgpu.tensor.DType;

/**
 * The golden training runs on a GPU, in F32; {@link GpuGoldenTest} has the command.
 *
 * <p>Where a call is close, the GPU's sums, in another order, may choose another expert than the
 * CPU's. Therefore it is held to the last step with the CPU's choices; and with its own as far as
 * any slicing must, and the first that is another than the CPU's must have been close.
 */
@Tag("gpu")
class GpuTrainingGoldenTest extends TrainingGoldenTest {
  /**
   * Of probabilities: what F32 results of golden cases may differ by. Between reference backend and
   * CPU they do by 5e-5: where a gradient is nearly zero, AdamW steps by its rounding error's sign.
   */
  private static final double CLOSE = 1e-4;

  @Override
  boolean agrees(GoldenCase golden, int slices, String trained) {
    SameChoices exact = new SameChoices();
    SameChoices own = new SameChoices();
    SameChoices followed = new SameChoices();
    boolean onCpu = agreesToTheEnd(exact.recording(cpu()), golden, slices, trained);
    boolean alone = agreesToTheEnd(gpu(), golden, slices, trained);
    boolean recorded = agreesToTheEnd(own.recording(gpu()), golden, slices, trained);
    boolean given = agreesToTheEnd(exact.repeating(gpu(), followed), golden, slices, trained);
    int fork = exact.callsBeforeFork(own);
    double close = fork < exact.calls() ? exact.closeness(own, fork) : 0;
    System.out.printf(
        Locale.ROOT,
        "%s, %d slices: agrees to the last step: CPU %b, GPU %b, GPU with the CPU's choices %b; %d of"
            + " %d router calls alike, then others by %.1e%n",
        golden.name(),
        slices,
        onCpu,
        alone,
        given,
        fork,
        exact.calls(),
        close);
    assertThat(recorded).as("reading choices changes nothing").isEqualTo(alone);
    assertThat(alone || fork < exact.calls()).as("agrees unless it chose others").isTrue();
    assertThat(close).as("first other choice").isLessThan(CLOSE);
    for (int call = 0; call < exact.calls(); call++) {
      assertThat(exact.closeness(followed, call))
          .as("other choice, call %d", call)
          .isLessThan(CLOSE);
    }
    return given;
  }

  private static TrainingBackend gpu() {
    return TestDevice.open(DType.F32);
  }
}
