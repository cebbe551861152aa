package org.mixedgpu.hetermoe.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import org.apache.spark.ml.param.Param;
import org.apache.spark.ml.param.ParamMap;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.junit.jupiter.api.Test;
import org.mixedgpu.hetermoe.train.LearningRate;
import org.mixedgpu.nn.checkpoint.ModelConfigs;

class HeterMoeParamsTest {
  @Test
  void mllibFindsEveryOptionAsAParam() {
    assertThat(Arrays.stream(new HeterMoe().params()).map(Param::name))
        .containsExactlyInAnyOrderElementsOf(
            TrainOptions.ALL.stream().map(TrainOption::name).toList());
    assertThat(new HeterMoe().explainParams()).contains("sequenceLength: Length of the packed");
  }

  @Test
  void aValueOutOfRangeIsRefusedWhereItIsSet() {
    assertThatThrownBy(() -> new HeterMoe().setBeta1(1))
        .hasMessage("beta1: '1.0' is out of range; use a number from 0.0 to below 1.0");
    assertThatThrownBy(() -> new HeterMoe().setSchedule("linear"))
        .hasMessage("schedule: 'linear' is out of range; use cosine or constant");
    assertThatThrownBy(() -> new HeterMoe().setAuxCoefficient("-1"))
        .hasMessageContaining("use a number of 0 or more, or nothing");
  }

  @Test
  void theLastStepLearnsToo() {
    HeterMoe run = new HeterMoe().setLearningRate(2).setWarmupSteps(0);
    assertThat(RunFacts.optimizer(run.setSteps(1)).learningRate().at(1)).isEqualTo(1);
    LearningRate rate = RunFacts.optimizer(run.setSteps(9)).learningRate();
    assertThat(rate.at(5)).isCloseTo(1, within(1e-12));
    assertThat(rate.at(9)).isBetween(0.04, 0.05);
    assertThat(rate.at(10)).isZero();
  }

  @Test
  void aCopyHasTheSameValues() {
    HeterMoe original = new HeterMoe().setSteps(7).setModel("m");
    HeterMoe copy = (HeterMoe) original.copy(new ParamMap());
    assertThat(copy.uid()).isEqualTo(original.uid());
    assertThat(copy.value(TrainOptions.STEPS)).isEqualTo(7);
    assertThat(copy.value(TrainOptions.MODEL)).isEqualTo("m");
  }

  @Test
  void aMissingOrWrongColumnIsNamedWithThoseThereAre() {
    StructType schema = new StructType().add("id", DataTypes.LongType);
    assertThatThrownBy(() -> new HeterMoe().transformSchema(schema))
        .hasMessage("There is no column text; the Dataset has id. Set textCol");
    assertThatThrownBy(() -> new HeterMoe().setTokensCol("id").transformSchema(schema))
        .hasMessage("Column id is bigint; expected array<int>");
  }

  @Test
  void everyPresetIsAModelConfiguration() {
    for (String preset : ModelSource.PRESETS) {
      ModelSource source = ModelSource.of(preset, null);
      assertThat(ModelConfigs.parse(source.json(), source.name()).moe()).isPresent();
    }
  }
}
