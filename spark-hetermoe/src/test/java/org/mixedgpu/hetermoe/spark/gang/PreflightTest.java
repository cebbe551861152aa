package org.mixedgpu.hetermoe.spark.gang;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.spark.device.GpuDiscovery;

class PreflightTest {
  private static final String PLUGIN = GangPlugin.class.getName();
  private static final GangSpec TWO_AND_TWO =
      GangSpec.of(
          "test",
          new MemberSpec(2, "gpu-hopper", 2, 512, 128),
          new MemberSpec(2, "gpu-volta", 1, 512, 128));

  /** The settings of a case, as {@code key=value;key=value} added to ones that work. */
  private static Map<String, String> conf(String master, boolean dynamic, String changes) {
    Map<String, String> conf = new TreeMap<>();
    conf.put("spark.master", master);
    conf.put("spark.plugins", PLUGIN);
    conf.put("spark.resources.discoveryPlugin", GpuDiscovery.class.getName());
    conf.put("spark.executor.cores", "2");
    conf.put("spark.dynamicAllocation.enabled", "" + dynamic);
    if (!dynamic) {
      conf.put("spark.executor.resource.gpu.amount", "1");
      conf.put("spark.task.resource.gpu.amount", "1");
      conf.put("spark.executor.instances", "4");
    }
    if (changes != null) {
      for (String change : changes.split(";")) {
        String[] parts = change.strip().split("=", 2);
        if (parts.length == 1) {
          conf.remove(parts[0]);
        } else {
          conf.put(parts[0], parts[1]);
        }
      }
    }
    return conf;
  }

  @ParameterizedTest
  @CsvSource({
    "local, true, , LOCAL",
    "local[2], false, , LOCAL",
    "local[*], false, spark.speculation=true; spark.plugins, LOCAL",
    "spark://a:7077, true, , PROFILES",
    "spark://a:7077, false, , BARRIER",
    "'spark://a:7077,b:7077', true, spark.dynamicAllocation.maxExecutors=2, PROFILES",
    "spark://a:7077, true, spark.cores.max=6, PROFILES",
    "spark://a:7077, true, spark.locality.wait=3s, PROFILES",
    "spark://a:7077, true, spark.excludeOnFailure.enabled=true, PROFILES",
    "yarn, true, , PROFILES",
    "yarn, true, spark.executor.cores, PROFILES",
    "yarn, false, , BARRIER",
    "yarn, true, spark.resources.discoveryPlugin; spark.hetermoe.gpuDiscoveryScript=/d, PROFILES",
    "k8s://https://c:6443, true, spark.hetermoe.gpuVendor=x.io, PROFILES",
    "k8s://https://c:6443, false, , BARRIER",
  })
  void picksTheModeThatWorks(String master, boolean dynamic, String changes, Mode expected) {
    Preflight.Decision decision = Preflight.decide(conf(master, dynamic, changes), TWO_AND_TWO);
    assertThat(decision.mode()).isEqualTo(expected);
    assertThat(decision.reason()).isNotBlank().doesNotContain("\n");
  }

  @ParameterizedTest
  @CsvSource({
    "'local-cluster[2,2,1024]', true, , LocalCluster of unequal Workers",
    "mesos://a, true, , spark.master='mesos://a' is not known",
    "spark://a:7077, true, spark.plugins, org.mixedgpu.hetermoe.spark.gang.GangPlugin",
    "spark://a:7077, true, spark.speculation=true, spark.speculation=false",
    "spark://a:7077, false, spark.speculation=true, spark.speculation=false",
    "spark://a:7077, true, spark.executor.cores, 'set it, for instance to 2'",
    "spark://a:7077, false, spark.executor.cores, without spark.executor.cores",
    "spark://a:7077, true, spark.dynamicAllocation.maxExecutors=1, set it to 2 or more",
    "spark://a:7077, true, spark.dynamicAllocation.minExecutors=4, set it to 0",
    "spark://a:7077, true, spark.dynamicAllocation.maxExecutors=few, is not a whole number",
    "spark://a:7077, true, spark.cores.max=5, set it to 6 or more",
    "spark://a:7077, false, spark.cores.max=7, set it to 8 or more",
    "spark://a:7077, false, spark.executor.resource.gpu.amount,"
        + " set spark.dynamicAllocation.enabled=true",
    "spark://a:7077, false, spark.task.resource.gpu.amount=0.5,"
        + " spark.task.resource.gpu.amount=1",
    "spark://a:7077, false, spark.executor.resource.gpu.amount;"
        + " spark.executor.resource.gpu-hopper.amount=1; spark.task.resource.gpu-hopper.amount=1,"
        + " but the gang needs gpu-hopper and gpu-volta",
    "yarn, false, spark.executor.instances=3, set it to 4 or more",
    "k8s://https://c:6443, true, , set spark.hetermoe.gpuVendor",
    "yarn, true, spark.resources.discoveryPlugin, set spark.resources.discoveryPlugin=org.mixed",
    "yarn, true, spark.executor.resource.gpu-volta.amount=1, unset it",
  })
  void refusesWhatCannotWorkAndSaysWhatToSet(
      String master, boolean dynamic, String changes, String words) {
    assertThatThrownBy(() -> Preflight.decide(conf(master, dynamic, changes), TWO_AND_TWO))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BAD_INPUT))
        .hasMessageContaining("nothing was started")
        .hasMessageContaining(words);
  }

  @Test
  void listsAllProblemsAtOnce() {
    assertThatThrownBy(
            () ->
                Preflight.decide(
                    Map.of(
                        "spark.master", "spark://a:7077",
                        "spark.speculation", "true",
                        "spark.excludeOnFailure.enabled", "true"),
                    TWO_AND_TWO.withMaxRestarts(1)))
        .hasMessageContaining("spark.plugins")
        .hasMessageContaining("spark.speculation=false")
        .hasMessageContaining("spark.excludeOnFailure.enabled")
        .hasMessageContaining("executors ask for no GPU");
  }
}
