package org.mixedgpu.hetermoe.spark;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * Prints what is generated from the settings and options: {@code template} for {@code
 * conf/spark-defaults.conf.template}, {@code settings} and {@code options} for the README's tables.
 */
public final class ConfDocs {
  private static final String HEAD =
      """
      # Settings for spark-hetermoe: copy to SPARK_HOME/conf/spark-defaults.conf and edit.
      # Generated from the library's own declarations; a test compares. To write it again:
      #   java -cp "$(cat spark-hetermoe/target/launcher.classpath):spark-hetermoe/target/classes" \\
      #     org.mixedgpu.hetermoe.spark.ConfDocs template > conf/spark-defaults.conf.template

      # Members of a gang find each other through this plugin.
      spark.plugins  org.mixedgpu.hetermoe.spark.gang.GangPlugin

      # Mode "profiles": each role asks for executors of its own GPU generation. Without dynamic
      # allocation the gang is one barrier stage, and roles follow from addresses like hopper-0.
      spark.dynamicAllocation.enabled  true
      spark.dynamicAllocation.minExecutors  0

      # Executors that have read the text make room for members this long after, not after a minute.
      spark.dynamicAllocation.executorIdleTimeout  5s

      # An executor has one member; all its cores work for it. Exchange buffers lie outside the
      # heap, in the overhead; so do tensors on the CPU. With the backend cuda tensors are on the
      # GPU, and a few GiB of overhead do.
      spark.executor.cores  8
      spark.executor.memory  8g
      spark.executor.memoryOverhead  64g

      # Without this the JVM allows as much memory outside the heap as inside it.
      spark.executor.extraJavaOptions  -XX:MaxDirectMemorySize=60g

      # Members must start together, wherever the text lies, and once each.
      spark.locality.wait  0
      spark.speculation  false
      """;

  private ConfDocs() {}

  public static void main(String[] args) {
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    String what = args.length == 1 ? args[0] : "";
    switch (what) {
      case "template" -> out.print(template());
      case "settings" -> out.print(HeterMoeConf.ALL.table());
      case "options" -> out.print(options());
      default -> {
        System.err.println("Use one argument: template, settings or options");
        System.exit(2);
      }
    }
  }

  static String template() {
    return HEAD + HeterMoeConf.ALL.template();
  }

  /** A Markdown table of the options of a training run. */
  static String options() {
    StringBuilder text = new StringBuilder("| option | default | meaning |\n| --- | --- | --- |\n");
    for (TrainOption<?> option : TrainOptions.ALL) {
      String byDefault = String.valueOf(option.byDefault());
      text.append("| `").append(option.name()).append("` | ");
      text.append(byDefault.isEmpty() ? "" : "`" + byDefault + "`");
      text.append(option.entry().unit().isEmpty() ? "" : " " + option.entry().unit());
      text.append(" | ").append(option.entry().doc()).append(" |\n");
    }
    return text.toString();
  }
}
