package org.mixedgpu.hetermoe.spark;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.SparkConf;
import org.mixedgpu.base.ConfEntry;
import org.mixedgpu.base.ConfSection;
import scala.Tuple2;

/**
 * The settings of a deployment: how long its members wait and what its GPUs are. What a run is
 * about (model, data, batch, learning rate) are params of {@link HeterMoe}. Nothing else reads
 * {@code spark.hetermoe.*}; lower layers get values.
 */
public final class HeterMoeConf {
  public static final String PREFIX = "spark.hetermoe.";

  public static final ConfEntry<Long> REGISTRATION_TIMEOUT =
      ConfEntry.number(
          PREFIX + "registrationTimeoutMs",
          "ms",
          120_000,
          1000,
          86_400_000,
          "How long all members together may take to appear. Raise it where executors start slowly"
              + " or wait in a queue.");

  public static final ConfEntry<Long> SILENCE_TIMEOUT =
      ConfEntry.number(
          PREFIX + "silenceTimeoutMs",
          "ms",
          15_000,
          2000,
          3_600_000,
          "How long a member may be silent before it counts as lost and the run is stopped.");

  public static final ConfEntry<Long> EXCHANGE_QUEUE =
      ConfEntry.number(
          PREFIX + "exchangeQueueMib",
          "MiB",
          256,
          1,
          1 << 20,
          "Memory for messages on their way, per peer, channel and direction; part of"
              + " spark.executor.memoryOverhead. A sender waits where it is used up.");

  public static final ConfEntry<Long> EXCHANGE_TIMEOUT =
      ConfEntry.number(
          PREFIX + "exchangeTimeoutMs",
          "ms",
          300_000,
          1000,
          86_400_000,
          "How long a member waits for a message of another before the run is stopped; not while"
              + " members load or save the model. Raise it where one micro-batch takes longer.");

  public static final ConfEntry<String> EXCHANGE =
      new ConfEntry<>(
          PREFIX + "exchange",
          "",
          "auto",
          "What the rows of messages pass through: network, Spark's own by way of host memory, or"
              + " nccl, from GPU to GPU, where each member has a GPU of its own and finds"
              + " libnccl.so.2. auto takes nccl where it can, and the log says why.",
          String::strip,
          List.of("auto", "network", "nccl")::contains,
          "auto or network or nccl");

  public static final ConfEntry<String> GPU_CATALOGUE =
      ConfEntry.text(
          PREFIX + "gpuCatalogue",
          "",
          "Path of a GPU catalogue in the format of conf/gpus.json, where workers and executors find"
              + " it too; empty means the built-in one. The discovery plugin leaves out GPUs whose"
              + " compute capability it lacks, with a warning. conf/discover-gpus.sh reads the"
              + " gpus.json beside it.");

  public static final ConfEntry<String> EMULATED_GPUS =
      ConfEntry.text(
          PREFIX + "emulatedGpus",
          "",
          "GPUs that discovery pretends to find, such as hopper:1,volta:2; empty means the real"
              + " ones.");

  public static final ConfEntry<String> EXCHANGE_PORTS =
      new ConfEntry<>(
          PREFIX + "exchangePorts",
          "",
          "",
          "Range of ports on which members listen for each other, where a firewall asks for one;"
              + " one port per member on a machine. Empty means any.",
          String::strip,
          range -> range.isEmpty() || range.matches("\\d{1,5}-\\d{1,5}"),
          "a range such as 40000-40099, or nothing");

  public static final ConfEntry<String> GPU_VENDOR =
      ConfEntry.text(
          PREFIX + "gpuVendor",
          "",
          "Kubernetes only: domain under which the nodes advertise gpu-<generation>, such as"
              + " example.com for example.com/gpu-hopper.");

  public static final ConfEntry<String> GPU_DISCOVERY_SCRIPT =
      ConfEntry.text(
          PREFIX + "gpuDiscoveryScript",
          "",
          "YARN and Kubernetes: path of a script that prints an executor's GPUs, where"
              + " spark.resources.discoveryPlugin does not name our plugin.");

  public static final ConfSection ALL =
      new ConfSection(
          PREFIX,
          List.of(
              REGISTRATION_TIMEOUT,
              SILENCE_TIMEOUT,
              EXCHANGE_QUEUE,
              EXCHANGE_TIMEOUT,
              EXCHANGE,
              GPU_CATALOGUE,
              EMULATED_GPUS,
              EXCHANGE_PORTS,
              GPU_VENDOR,
              GPU_DISCOVERY_SCRIPT));

  private HeterMoeConf() {}

  /** All settings under our prefix, checked: an unknown key or a value out of range throws. */
  public static Map<String, String> checked(SparkConf conf) {
    Map<String, String> settings = new TreeMap<>();
    for (Tuple2<String, String> pair : conf.getAllWithPrefix(PREFIX)) {
      settings.put(PREFIX + pair._1(), pair._2());
    }
    ALL.check(settings);
    return settings;
  }
}
