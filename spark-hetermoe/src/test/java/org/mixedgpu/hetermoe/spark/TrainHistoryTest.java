package org.mixedgpu.hetermoe.spark;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.spark.sql.Row;
import org.junit.jupiter.api.Test;
import org.mixedgpu.hetermoe.train.StepReport;
import org.mixedgpu.io.MemoryFileStore;

/** What is kept and said of each step. */
class TrainHistoryTest {
  private static final StepReport GOOD = report(1, 0.5, 1, true);
  private static final StepReport SKIPPED = report(2, Double.POSITIVE_INFINITY, 65_536, false);

  private static StepReport report(long step, double norm, double scale, boolean updated) {
    return new StepReport(
        step, 3.25, 0.01, norm, 1e-3, 90, 100, 2, List.of(0.5, 0.25), 1, 1000, scale, updated);
  }

  @Test
  void aStepIsARowWithItsScaleAndWhetherItChangedWeights() {
    Row row = TrainHistory.row(SKIPPED);
    assertThat(row.length()).isEqualTo(TrainHistory.SCHEMA.length());
    assertThat(row.get(TrainHistory.SCHEMA.fieldIndex("lossScale"))).isEqualTo(65_536.0);
    assertThat(row.get(TrainHistory.SCHEMA.fieldIndex("updated"))).isEqualTo(false);
  }

  @Test
  void theFileIsAJsonObjectAStep() throws IOException {
    MemoryFileStore store = new MemoryFileStore();
    TrainHistory.write(store, "model", List.of(GOOD, SKIPPED));
    String text = new String(store.files.get("model/" + TrainHistory.FILE), StandardCharsets.UTF_8);
    List<JsonNode> steps = new ArrayList<>();
    for (String line : text.split("\n")) {
      steps.add(new ObjectMapper().readTree(line));
    }
    assertThat(steps).hasSize(2).allMatch(step -> step.size() == TrainHistory.SCHEMA.length());
    assertThat(steps.get(0).get("updated").asBoolean()).isTrue();
    assertThat(steps.get(0).get("lossScale").asDouble()).isEqualTo(1);
    assertThat(steps.get(1).get("updated").isBoolean()).isTrue();
    assertThat(steps.get(1).get("updated").asBoolean()).isFalse();
    assertThat(steps.get(1).get("lossScale").asDouble()).isEqualTo(65_536);
    assertThat(steps.get(1).get("gradientNorm").isNull()).isTrue();
  }

  @Test
  void aSkippedStepSaysSoInItsLine() {
    TrainLog log = new TrainLog(9);
    assertThat(log.line(GOOD))
        .startsWith("step 1/9: loss 3.2500,")
        .endsWith("busy: attention 50 %, experts 25 %");
    assertThat(log.line(SKIPPED))
        .startsWith("step 2/9: loss 3.2500,")
        .contains("loss scaled by 65,536")
        .contains("skipped: its gradients were not finite");
  }
}
