package org.mixedgpu.layers;

import static com.tngtech.archunit.base.DescribedPredicate.not;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAnyPackage;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.type;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.lang.ArchRule;
import java.io.Serializable;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The arrows between packages, for both modules; the names are what a failure is called. */
public final class LayerRules {
  private LayerRules() {}

  /**
   * Packages by layer, lowest first. A package uses only lower layers, itself, or its peers named
   * in {@link #PEERS}.
   */
  private static final List<List<String>> LAYERS =
      List.of(
          List.of("org.mixedgpu.base"),
          List.of(
              "org.mixedgpu.io",
              "org.mixedgpu.device",
              "org.mixedgpu.tensor",
              "org.mixedgpu.local"),
          List.of("org.mixedgpu.backend"),
          List.of("org.mixedgpu.nn"),
          List.of(
              "org.mixedgpu.hetermoe.plan",
              "org.mixedgpu.hetermoe.exchange",
              "org.mixedgpu.cake.key",
              "org.mixedgpu.cake.plan",
              "org.mixedgpu.cake.store"),
          List.of("org.mixedgpu.hetermoe.train", "org.mixedgpu.cake.prefill"),
          List.of("org.mixedgpu.hetermoe.spark", "org.mixedgpu.cake.spark"),
          List.of("org.mixedgpu.hetermoe.cli", "org.mixedgpu.cake.cli"),
          List.of("org.mixedgpu.cake.quickstart"));

  /** What may be used within one layer. */
  private static final Map<String, List<String>> PEERS =
      Map.of(
          "org.mixedgpu.cake.plan", List.of("org.mixedgpu.cake.key"),
          "org.mixedgpu.cake.store", List.of("org.mixedgpu.cake.key"));

  public static Map<String, ArchRule> all() {
    Map<String, ArchRule> rules = new LinkedHashMap<>();
    for (int layer = 0; layer < LAYERS.size(); layer++) {
      for (String from : LAYERS.get(layer)) {
        rules.put(from + " looks down only", looksDownOnly(from, layer));
      }
    }
    rules.put("Spark is used in spark packages only", onlyIn("org.apache.spark..", ".spark."));
    rules.put("Hadoop is used in io only", onlyIn("org.apache.hadoop..", "org.mixedgpu.io."));
    rules.put("JNA is used in backends only", onlyIn("com.sun.jna..", "org.mixedgpu.backend."));
    rules.put(
        "the tokenizer library is used in nn.tokenizer only",
        onlyIn("ai.djl..", "org.mixedgpu.nn.tokenizer."));
    rules.put("JCuda is used in backends only", onlyIn("jcuda..", "org.mixedgpu.backend.cuda."));
    rules.put(
        "Arrow is used for memory, in the store's files and beside Spark only",
        onlyIn(
            "org.apache.arrow..", "org.mixedgpu.tensor.", "org.mixedgpu.cake.store.", ".spark."));
    rules.put(
        "plans are pure",
        noClasses()
            .that()
            .resideInAnyPackage("org.mixedgpu.hetermoe.plan..", "org.mixedgpu.cake.plan..")
            .should()
            .dependOnClassesThat(
                resideInAnyPackage(
                        "java.io..",
                        "java.nio.file..",
                        "java.time..",
                        "java.util.concurrent..",
                        "org.mixedgpu.tensor..",
                        "org.mixedgpu.io..",
                        "org.mixedgpu.backend..")
                    // A plan is made in the driver and travels to members.
                    .and(not(type(Serializable.class)))));
    rules.put(
        "plans read no clock",
        noClasses()
            .that()
            .resideInAnyPackage("org.mixedgpu.hetermoe.plan..", "org.mixedgpu.cake.plan..")
            .should()
            .callMethod(System.class, "nanoTime")
            .orShould()
            .callMethod(System.class, "currentTimeMillis"));
    rules.put(
        "prefill does not know training",
        noClasses()
            .that()
            .resideInAPackage("org.mixedgpu.cake..")
            .and()
            .resideOutsideOfPackage("org.mixedgpu.cake.quickstart..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage("org.mixedgpu.hetermoe.train..", "org.mixedgpu.hetermoe.plan.."));
    // A module has only some of the packages.
    rules.replaceAll((name, rule) -> rule.allowEmptyShould(true));
    return rules;
  }

  private static ArchRule looksDownOnly(String from, int layer) {
    List<String> forbidden = new ArrayList<>();
    for (int other = layer; other < LAYERS.size(); other++) {
      for (String name : LAYERS.get(other)) {
        if (!name.equals(from) && !PEERS.getOrDefault(from, List.of()).contains(name)) {
          forbidden.add(name + "..");
        }
      }
    }
    return noClasses()
        .that()
        .resideInAPackage(from + "..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(forbidden.toArray(new String[0]));
  }

  private static ArchRule onlyIn(String library, String... homes) {
    return noClasses()
        .that(
            com.tngtech.archunit.base.DescribedPredicate.describe(
                "are ours and not in " + List.of(homes),
                c ->
                    c.getPackageName().startsWith("org.mixedgpu.")
                        && List.of(homes).stream()
                            .noneMatch(home -> (c.getPackageName() + ".").contains(home))))
        .should()
        .dependOnClassesThat()
        .resideInAPackage(library);
  }
}
