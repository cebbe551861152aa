package org.mixedgpu.cake.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.spark.ml.param.Param;
import org.apache.spark.ml.param.ParamMap;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.junit.jupiter.api.Test;

class CakeParamsTest {
  private final CakePrefill prefill = new CakePrefill();

  @Test
  void everyOptionIsAParamThatSparkFinds() {
    Set<String> found = new HashSet<>();
    for (Param<?> param : prefill.params()) {
      found.add(param.name());
    }
    for (CakeOption<?> option : CakeOptions.ALL) {
      assertThat(found).contains(option.name());
      assertThat(prefill.value(option)).isEqualTo(option.byDefault());
      assertThat(prefill.explainParams()).contains(option.name() + ": " + option.entry().doc());
    }
    assertThat(found).hasSize(CakeOptions.ALL.size());
  }

  @Test
  void aValueOutOfRangeIsRefusedWhereItIsSet() {
    assertThatThrownBy(() -> prefill.setChunkTokens(0))
        .hasMessageContaining("chunkTokens: '0' is out of range; use a whole number of tokens");
    assertThatThrownBy(() -> prefill.setMode("both"))
        .hasMessageContaining("use cake or compute or load");
    assertThatThrownBy(() -> prefill.setIoBytesPerSecond(-1)).hasMessageContaining("0 or more");
    assertThatThrownBy(() -> prefill.set(CakeOptions.EMBEDDING, "yes"))
        .hasMessageContaining("use true or false");
    assertThatThrownBy(() -> prefill.setLabels("a|b")).hasMessageContaining("found 'a|b'");
  }

  @Test
  void aCopyHasTheSameValuesAndTheExtraOnes() {
    prefill.setTopK(3).setLabels("yes", "no");
    CakePrefill copy = prefill.copy(new ParamMap().put(prefill.embedding().w(true)));
    assertThat(copy.uid()).isEqualTo(prefill.uid());
    assertThat(copy.value(CakeOptions.TOP_K)).isEqualTo(3);
    assertThat(copy.value(CakeOptions.LABELS)).isEqualTo("yes|no");
    assertThat(copy.value(CakeOptions.EMBEDDING)).isTrue();
    assertThat(prefill.value(CakeOptions.EMBEDDING)).isFalse();
  }

  @Test
  void theSchemaIsCheckedBeforeAnyWork() {
    StructType schema =
        new StructType().add("prompt", DataTypes.StringType).add("n", DataTypes.LongType);
    assertThatThrownBy(() -> prefill.transformSchema(schema))
        .hasMessageContaining("modelPath is not set");
    prefill.setModelPath("/m");
    StructType out = prefill.transformSchema(schema);
    assertThat(List.of(out.fieldNames())).containsExactly("prompt", "n", "prefill");
    assertThatThrownBy(() -> prefill.setInputCol("text").transformSchema(schema))
        .hasMessageContaining("no column text; the Dataset has prompt, n");
    assertThatThrownBy(() -> prefill.setInputCol("n").transformSchema(schema))
        .hasMessageContaining("Column n is bigint; expected string");
    assertThatThrownBy(
            () -> prefill.setInputCol("prompt").setOutputCol("n").transformSchema(schema))
        .hasMessageContaining("column n already");
  }

  @Test
  void flagsAreTheNamesOfParams() {
    assertThat(CakeOptions.IO_BYTES_PER_SECOND.flag()).isEqualTo("--io-bytes-per-second");
    assertThat(CakeOptions.TOP_K.flag()).isEqualTo("--top-k");
  }
}
