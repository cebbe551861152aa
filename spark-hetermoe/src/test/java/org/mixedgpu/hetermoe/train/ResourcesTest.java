package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class ResourcesTest {
  @Test
  void allAreClosedAndNoFailureIsLost() {
    Resources resources = new Resources();
    List<String> closed = new ArrayList<>();
    resources.own(() -> closed.add("first"));
    resources.own(
        () -> {
          throw new IOException("second");
        });
    RuntimeException third = new IllegalStateException("third");
    for (int i = 0; i < 2; i++) {
      resources.own(
          () -> {
            throw third;
          });
    }
    assertThatThrownBy(resources::close)
        .isSameAs(third)
        .satisfies(
            e ->
                assertThat(e.getSuppressed())
                    .singleElement()
                    .satisfies(later -> assertThat(later).hasMessage("second")));
    assertThat(closed).containsExactly("first");
  }
}
