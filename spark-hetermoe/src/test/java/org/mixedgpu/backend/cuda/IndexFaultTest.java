package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.OpChecks;
import org.mixedgpu.tensor.DType;

class IndexFaultTest {
  @Test
  void theNumbersAreThoseOfTheKernels() {
    String text = KernelSource.of("elementwise", 80, DType.F32, List.of()).text();
    String body = text.substring(text.indexOf("enum IndexFault {"));
    Map<String, Integer> inKernels = new TreeMap<>();
    Matcher entry =
        Pattern.compile("([A-Z_]+) = (\\d+)").matcher(body.substring(0, body.indexOf('}')));
    while (entry.find()) {
      inKernels.put(entry.group(1), Integer.valueOf(entry.group(2)));
    }
    Map<String, Integer> here = new TreeMap<>();
    for (IndexFault fault : IndexFault.values()) {
      here.put(fault.name(), fault.number());
      assertThat(IndexFault.of(fault.number())).isEqualTo(fault);
    }
    assertThat(here).isEqualTo(inKernels);
    assertThatThrownBy(() -> IndexFault.of(here.size() + 1)).hasMessageContaining("number");
  }

  @Test
  void theMessagesAreThoseOfTheCpu() {
    assertThatThrownBy(() -> OpChecks.index("gatherRows", "index", 7, 3, 5))
        .hasMessage(IndexFault.GATHER_ROWS_INDEX.exception(3, 7, 5).getMessage());
    assertThat(IndexFault.GROUPED_MATMUL_OFFSETS.exception(2, 9, 8))
        .hasMessageContainingAll("groupedMatmul", "offsets", "[0, 8]", "9", "position 2");
    // Below its limit an offset can only be refused for what is before it.
    assertThat(IndexFault.GROUPED_MATMUL_OFFSETS.exception(2, 4, 6))
        .hasMessageContainingAll("ascend", "4 after 6", "position 2");
  }
}
