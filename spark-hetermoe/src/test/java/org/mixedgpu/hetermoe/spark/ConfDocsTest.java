package org.mixedgpu.hetermoe.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.spark.SparkConf;
import org.junit.jupiter.api.Test;

class ConfDocsTest {
  private static final String REMEDY =
      "write it again with org.mixedgpu.hetermoe.spark.ConfDocs, as its first lines say";

  @Test
  void theTemplateIsWhatTheSettingsSay() throws IOException {
    assertThat(Files.readString(Path.of("../conf/spark-defaults.conf.template")))
        .as(REMEDY)
        .isEqualTo(ConfDocs.template());
  }

  @Test
  void theReadmesTablesAreWhatTheDeclarationsSay() throws IOException {
    assertThat(Files.readString(Path.of("README.md")))
        .as(REMEDY)
        .contains(ConfDocs.options())
        .contains(HeterMoeConf.ALL.table());
  }

  @Test
  void thereAreFewSettings() {
    assertThat(HeterMoeConf.ALL.entries()).hasSizeLessThanOrEqualTo(12);
    assertThat(HeterMoeConf.ALL.entries()).allMatch(e -> e.doc().endsWith("."));
  }

  @Test
  void aMistypedSettingIsAnError() {
    SparkConf conf = new SparkConf(false).set("spark.hetermoe.silenceTimeout", "20000");
    assertThatThrownBy(() -> HeterMoeConf.checked(conf))
        .hasMessage(
            "Unknown setting spark.hetermoe.silenceTimeout; the nearest known one is"
                + " spark.hetermoe.silenceTimeoutMs");
  }
}
