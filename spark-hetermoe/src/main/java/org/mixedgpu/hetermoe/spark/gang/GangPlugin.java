package org.mixedgpu.hetermoe.spark.gang;

import java.io.IOException;
import java.util.Map;
import org.apache.spark.api.plugin.DriverPlugin;
import org.apache.spark.api.plugin.ExecutorPlugin;
import org.apache.spark.api.plugin.PluginContext;
import org.apache.spark.api.plugin.SparkPlugin;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.slf4j.LoggerFactory;

/**
 * The wire between members and driver: set {@code
 * spark.plugins=org.mixedgpu.hetermoe.spark.gang.GangPlugin}. Carries registration and abort, never
 * tensors.
 */
public final class GangPlugin implements SparkPlugin {
  /** One per executor process; null where the plugin is not configured. */
  private static volatile PluginContext executor;

  @Override
  public DriverPlugin driverPlugin() {
    return new DriverPlugin() {
      @Override
      public Object receive(Object message) {
        Object word = Codec.decode(message);
        Object answer = Rendezvous.receive(word);
        // Reports come one-way, and Spark warns of an answer to those.
        return word instanceof Word.Report ? null : Codec.encode(answer);
      }
    };
  }

  @Override
  public ExecutorPlugin executorPlugin() {
    return new ExecutorPlugin() {
      // Must not throw: a standalone cluster would start executors for ever.
      @Override
      public void init(PluginContext context, Map<String, String> extraConf) {
        executor = context;
      }
    };
  }

  static Answer ask(Word word) throws Exception {
    return (Answer) Codec.decode(context().ask(Codec.encode(word)));
  }

  /** Without an answer; a word that gets lost is only logged. */
  static void send(Word word) {
    try {
      context().send(Codec.encode(word));
    } catch (IOException e) {
      LoggerFactory.getLogger(GangPlugin.class).warn("Progress did not reach the driver", e);
    }
  }

  private static PluginContext context() {
    PluginContext context = executor;
    if (context == null) {
      throw new MixedGpuException(
          Fault.BAD_INPUT,
          "This executor has no gang plugin; set spark.plugins=" + GangPlugin.class.getName());
    }
    return context;
  }

  static String executorId() {
    PluginContext context = executor;
    return context == null ? "driver" : context.executorID();
  }
}
