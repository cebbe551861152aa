package org.mixedgpu.layers;

import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.lang.ArchRule;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

class LayersTest {
  private static final JavaClasses PRODUCT =
      new ClassFileImporter()
          .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
          .importPackages("org.mixedgpu");

  @TestFactory
  Stream<DynamicTest> everyRuleHolds() {
    return LayerRules.all().entrySet().stream()
        .map(rule -> DynamicTest.dynamicTest(rule.getKey(), () -> rule.getValue().check(PRODUCT)));
  }

  @Test
  void rulesThatCannotFailAreFound() {
    Map<String, ArchRule> rules = LayerRules.all();
    assertThat(
            violations(rules.get("Spark is used in spark packages only"), Planted.UsesSpark.class))
        .isTrue();
    assertThat(violations(rules.get("Hadoop is used in io only"), Planted.UsesHadoop.class))
        .isTrue();
    assertThat(violations(rules.get("JNA is used in backends only"), Planted.UsesJna.class))
        .isTrue();
    assertThat(violations(rules.get("JCuda is used in backends only"), Planted.UsesJCuda.class))
        .isTrue();
    assertThat(
            violations(
                rules.get("the tokenizer library is used in nn.tokenizer only"),
                Planted.UsesTokenizers.class))
        .isTrue();
    assertThat(
            violations(
                rules.get("Arrow is used for memory, in the store's files and beside Spark only"),
                Planted.UsesArrow.class))
        .isTrue();
    assertThat(
            violations(
                rules.get("org.mixedgpu.base looks down only"),
                org.mixedgpu.base.PlantedLayerBreaker.class))
        .isTrue();
    assertThat(
            violations(
                rules.get("plans are pure"), org.mixedgpu.hetermoe.plan.PlantedLayerBreaker.class))
        .isTrue();
    assertThat(
            violations(
                rules.get("plans read no clock"),
                org.mixedgpu.hetermoe.plan.PlantedLayerBreaker.class))
        .isTrue();
  }

  private static boolean violations(ArchRule rule, Class<?> planted) {
    return rule.evaluate(new ClassFileImporter().importClasses(planted)).hasViolation();
  }
}
