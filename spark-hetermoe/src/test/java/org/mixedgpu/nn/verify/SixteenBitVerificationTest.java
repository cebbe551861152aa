package org.mixedgpu.nn.verify;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.Golden;
import org.mixedgpu.tensor.DType;

/** What transformers computed in F32, against a backend that computes in 16 bits. */
class SixteenBitVerificationTest {

  @ParameterizedTest
  @CsvSource({"llama31, BF16", "qwen2, BF16", "qwen3, F16", "mistral_window, BF16"})
  void logitsAndCachesAreCloseToThoseOfF32(String name, DType type) {
    // Numbers of size 1 to 3, rounded to 2^-8 or 2^-11 of their size by each of some thirty ops.
    double limit = type == DType.BF16 ? 0.16 : 0.02;
    List<Compared> compared = new ArrayList<>();
    try (Backend backend = new RoundingBackend(type)) {
      ModelVerification.run(
          HadoopFileStore.ofDefaults(),
          Golden.folder(name),
          Golden.folder(name) + "/golden.safetensors",
          backend,
          limit,
          compared::add);
    }
    assertThat(compared).hasSizeGreaterThan(3).allMatch(Compared::within);
    assertThat(compared).as("it did round").allMatch(c -> c.found() > 1e-4);
  }
}
