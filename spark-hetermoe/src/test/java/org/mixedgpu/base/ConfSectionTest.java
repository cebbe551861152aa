package org.mixedgpu.base;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class ConfSectionTest {
  private static final ConfEntry<Long> THREADS =
      ConfEntry.number("a.threads", "threads", 2, 1, 8, "How many.");
  private static final ConfSection SECTION =
      new ConfSection("a.", List.of(THREADS, ConfEntry.text("a.name", "", "What it is called.")));

  @Test
  void valuesAreReadAndDefaultsFilledIn() {
    assertThat(THREADS.read(Map.of())).isEqualTo(2);
    assertThat(THREADS.read(Map.of("a.threads", " 7 "))).isEqualTo(7);
  }

  @Test
  void aValueOutOfRangeNamesKeyValueAndRule() {
    assertThatThrownBy(() -> SECTION.check(Map.of("a.threads", "9")))
        .isInstanceOf(MixedGpuException.class)
        .hasMessage("a.threads: '9' is out of range; use a whole number of threads from 1 to 8");
    assertThatThrownBy(() -> SECTION.check(Map.of("a.threads", "two")))
        .hasMessageStartingWith("a.threads: 'two' can't be read");
  }

  @Test
  void anUnknownKeyIsAnErrorWithTheNearestKnownOne() {
    assertThatThrownBy(() -> SECTION.check(Map.of("a.thread", "1")))
        .hasMessage("Unknown setting a.thread; the nearest known one is a.threads");
    SECTION.check(Map.of("b.thread", "another section's"));
  }

  @Test
  void aDefaultOutOfRangeCannotBeDeclared() {
    assertThatThrownBy(() -> ConfEntry.number("a.n", "ms", 9, 1, 8, "Too much."))
        .hasMessageStartingWith("a.n: '9' is out of range");
  }

  @Test
  void theTemplateShowsMeaningRuleAndDefault() {
    assertThat(SECTION.template())
        .contains("# How many.\n", "# Use a whole number of threads from 1 to 8.\n")
        .contains("# a.threads  2\n");
    assertThat(SECTION.table()).contains("| `a.threads` | `2` threads | How many. |\n");
  }
}
