package org.mixedgpu.hetermoe.spark.gang;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.mixedgpu.base.ConfEntry;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.spark.HeterMoeConf;
import org.mixedgpu.hetermoe.spark.device.GpuDiscovery;

/**
 * Decides, before any job, how a gang can run under these settings: a pure function. What can't
 * work is an error that lists every setting to change, not only the first.
 */
public final class Preflight {
  private static final String DYNAMIC = "spark.dynamicAllocation.enabled";
  private static final String DISCOVERY = GpuDiscovery.class.getName();

  private final Map<String, String> conf;
  private final GangSpec spec;
  private final List<String> problems = new ArrayList<>();

  private Preflight(Map<String, String> conf, GangSpec spec) {
    this.conf = conf;
    this.spec = spec;
  }

  /**
   * What to do.
   *
   * @param reason one line for the log
   */
  public record Decision(Mode mode, String reason) {}

  /**
   * The mode for these settings.
   *
   * @param conf all settings of the SparkContext, {@code spark.master} among them
   */
  public static Decision decide(Map<String, String> conf, GangSpec spec) {
    return new Preflight(conf, spec).decide();
  }

  private Decision decide() {
    String master = conf.getOrDefault("spark.master", "");
    if (master.equals("local") || master.startsWith("local[")) {
      return new Decision(
          Mode.LOCAL, "spark.master is " + master + ": members are threads of the driver");
    }
    if (master.startsWith("local-cluster")) {
      problems.add(
          "spark.master="
              + master
              + " gives all Workers the same resources; use local[*], or a LocalCluster of unequal"
              + " Workers");
      throw refused();
    }
    boolean kubernetes = master.startsWith("k8s://");
    boolean standalone = master.startsWith("spark://");
    if (!kubernetes && !standalone && !master.equals("yarn")) {
      problems.add(
          "spark.master='" + master + "' is not known; use spark://, yarn, k8s:// or local[*]");
      throw refused();
    }
    common();
    boolean dynamic = flag(DYNAMIC, false);
    if (dynamic) {
      profiles(standalone, kubernetes);
    } else {
      barrier(standalone);
    }
    if (!problems.isEmpty()) {
      throw refused();
    }
    return dynamic
        ? new Decision(
            Mode.PROFILES,
            DYNAMIC
                + " is true: two jobs, "
                + spec.attention().members()
                + " x "
                + spec.attention().resource()
                + " and "
                + spec.expert().members()
                + " x "
                + spec.expert().resource())
        : new Decision(
            Mode.BARRIER,
            DYNAMIC
                + " is false: one barrier stage of "
                + spec.size()
                + " tasks, role by GPU address");
  }

  private void common() {
    String plugin = GangPlugin.class.getName();
    if (!List.of(conf.getOrDefault("spark.plugins", "").split("\\s*,\\s*")).contains(plugin)) {
      problems.add("members find each other through a plugin: add " + plugin + " to spark.plugins");
    }
    if (flag("spark.speculation", false)) {
      problems.add(
          "spark.speculation=true would start second copies of members: set spark.speculation="
              + "false");
    }
    if (flag("spark.excludeOnFailure.enabled", false) && spec.maxRestarts() > 0) {
      problems.add(
          "spark.excludeOnFailure.enabled=true can exclude the only executor that fits, so that a"
              + " restart waits for ever: set it to false, or maxRestarts to 0");
    }
  }

  private void profiles(boolean standalone, boolean kubernetes) {
    if (standalone && !conf.containsKey("spark.executor.cores")) {
      problems.add(
          "without spark.executor.cores a standalone cluster starts more executors than asked for:"
              + " set it, for instance to "
              + Math.max(spec.attention().cores(), spec.expert().cores()));
    }
    int most = Math.max(spec.attention().members(), spec.expert().members());
    number(
        "spark.dynamicAllocation.maxExecutors",
        Integer.MAX_VALUE,
        n -> n >= most,
        "allows fewer executors per role than the gang needs: set it to " + most + " or more");
    number(
        "spark.dynamicAllocation.minExecutors",
        0,
        n -> n == 0,
        "holds executors without a role, which may take the room of members: set it to 0");
    int cores =
        spec.attention().members() * spec.attention().cores()
            + spec.expert().members() * spec.expert().cores();
    number(
        "spark.cores.max",
        Integer.MAX_VALUE,
        n -> n >= cores,
        "is less than the gang's " + cores + " cores: set it to " + cores + " or more");
    for (MemberSpec role : List.of(spec.attention(), spec.expert())) {
      String key = "spark.executor.resource." + role.resource() + ".amount";
      if (integer(key, 0) > 0) {
        problems.add(
            key
                + " makes executors without a role hold the GPUs that members need: unset it, each"
                + " role asks for its own");
      }
    }
    if (kubernetes && set(HeterMoeConf.GPU_VENDOR).isEmpty()) {
      problems.add(
          "Kubernetes names a resource <vendor>/"
              + spec.attention().resource()
              + ": set "
              + HeterMoeConf.GPU_VENDOR.key()
              + " to the domain under which your nodes advertise it");
    }
    if (!standalone
        && !conf.getOrDefault("spark.resources.discoveryPlugin", "").contains(DISCOVERY)
        && set(HeterMoeConf.GPU_DISCOVERY_SCRIPT).isEmpty()) {
      problems.add(
          "executors find their GPUs themselves here: set spark.resources.discoveryPlugin="
              + DISCOVERY
              + ", or "
              + HeterMoeConf.GPU_DISCOVERY_SCRIPT.key());
    }
  }

  private String set(ConfEntry<String> entry) {
    return conf.getOrDefault(entry.key(), "").strip();
  }

  private void barrier(boolean standalone) {
    String name = gpuResource();
    if (name == null) {
      problems.add(
          "executors ask for no GPU: set "
              + DYNAMIC
              + "=true, so that each role asks for its own kind, or spark.executor.resource.gpu"
              + ".amount=1 and spark.task.resource.gpu.amount=1 with addresses that name the"
              + " generation, such as hopper-0");
      return;
    }
    String executor = "spark.executor.resource." + name + ".amount";
    String task = "spark.task.resource." + name + ".amount";
    if (!conf.getOrDefault(executor, "").equals("1") || !conf.getOrDefault(task, "").equals("1")) {
      problems.add(
          "one member lives on one executor with one GPU: set "
              + executor
              + "=1 and "
              + task
              + "=1");
    }
    if (!name.equals("gpu") && !spec.attention().resource().equals(spec.expert().resource())) {
      problems.add(
          "a barrier stage asks all executors for "
              + name
              + ", but the gang needs "
              + spec.attention().resource()
              + " and "
              + spec.expert().resource()
              + ": set "
              + DYNAMIC
              + "=true, or name the resource gpu with addresses such as hopper-0");
    }
    if (standalone) {
      int perExecutor = integer("spark.executor.cores", 0);
      if (perExecutor == 0) {
        problems.add(
            "without spark.executor.cores a standalone cluster gives one executor all cores of a"
                + " Worker: set it");
      }
      int cores = spec.size() * Math.max(1, perExecutor);
      number(
          "spark.cores.max",
          Integer.MAX_VALUE,
          n -> n >= cores,
          "is less than the gang's " + cores + " cores: set it to " + cores + " or more");
    } else {
      number(
          "spark.executor.instances",
          2,
          n -> n >= spec.size(),
          "is fewer executors than members: set it to " + spec.size() + " or more");
    }
  }

  /** The GPU resource that all executors ask for, or null. */
  private String gpuResource() {
    String prefix = "spark.executor.resource.";
    return conf.keySet().stream()
        .filter(key -> key.startsWith(prefix) && key.endsWith(".amount"))
        .map(key -> key.substring(prefix.length(), key.length() - ".amount".length()))
        .filter(name -> name.equals("gpu") || name.startsWith(MemberSpec.PREFIX))
        .sorted()
        .findFirst()
        .orElse(null);
  }

  private boolean flag(String key, boolean byDefault) {
    return Boolean.parseBoolean(conf.getOrDefault(key, "" + byDefault).strip());
  }

  private int integer(String key, int byDefault) {
    String value = conf.get(key);
    try {
      return value == null ? byDefault : Integer.parseInt(value.strip());
    } catch (NumberFormatException e) {
      problems.add(key + "='" + value + "' is not a whole number");
      return byDefault;
    }
  }

  private void number(
      String key, int byDefault, java.util.function.IntPredicate fits, String problem) {
    int value = integer(key, byDefault);
    if (!fits.test(value)) {
      problems.add(key + "=" + value + " " + problem);
    }
  }

  private MixedGpuException refused() {
    return new MixedGpuException(
        Fault.BAD_INPUT,
        "Cannot run gang '"
            + spec.name()
            + "' with these settings; nothing was started:\n  - "
            + String.join("\n  - ", problems));
  }
}
