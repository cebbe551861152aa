package org.mixedgpu.cake.quickstart;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import org.mixedgpu.base.Check;
import org.mixedgpu.cake.quickstart.spark.ClusterRun;
import org.mixedgpu.cake.spark.CakePrefill;
import org.mixedgpu.hetermoe.spark.HeterMoe;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.io.NewFile;
import org.mixedgpu.local.LocalCluster;
import org.mixedgpu.local.WorkerSpec;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * Shows the whole path on one machine: starts an HDFS and a Spark cluster of two GPU generations as
 * processes on loopback, trains a small Mixture-of-Experts model on dictionary text with two gangs,
 * prefills prompts with long shared prefixes in three modes, and writes a report. Everything it
 * started ends with it.
 */
@Command(
    name = "quickstart",
    mixinStandardHelpOptions = true,
    description = "Trains and prefills on a cluster of two GPU generations on this machine.")
public final class QuickStart implements Callable<Integer> {
  private static final String NEWER = "gpu-ampere";
  private static final String OLDER = "gpu-volta";
  private static final int HELD_OUT = 200;

  @Option(
      names = "--folder",
      defaultValue = "target/quickstart",
      paramLabel = "DIR",
      description = "Where report and logs go. Default: ${DEFAULT-VALUE}. Example: /tmp/quickstart")
  private Path folder;

  @Option(
      names = "--steps",
      defaultValue = "120",
      paramLabel = "N",
      description = "Training steps. Default: ${DEFAULT-VALUE}. Example: 60")
  private long steps;

  public static void main(String[] args) {
    System.exit(new CommandLine(new QuickStart()).execute(args));
  }

  @Override
  public Integer call() throws IOException {
    long start = System.nanoTime();
    say(start, "Starting NameNode, DataNode, Spark Master and two Workers on 127.0.0.1 ...");
    Path run = folder.resolve("run-" + ProcessHandle.current().pid());
    Files.createDirectories(folder);
    try (LocalCluster cluster =
        LocalCluster.in(run)
            .worker(new WorkerSpec("newer", 4, 3072, Map.of(NEWER, List.of("0"))))
            .worker(new WorkerSpec("older", 4, 3072, Map.of(OLDER, List.of("0"))))
            .hdfs()
            .start()) {
      String root = cluster.hdfs().orElseThrow() + "/quickstart";
      say(start, "Up: " + cluster.masterUrl() + ", " + root + ", logs in " + cluster.logs());
      try (ClusterRun spark = new ClusterRun(settings(cluster))) {
        Report report = run(spark, root, start);
        Path page = folder.resolve("report.html").toAbsolutePath();
        Files.writeString(page, report.html(elapsed(start)));
        System.out.println(report.text());
        say(start, "Report with plots: " + page);
      }
    }
    say(start, "Everything that was started has ended.");
    return CommandLine.ExitCode.OK;
  }

  private Report run(ClusterRun spark, String root, long start) {
    List<WordNet.Entry> entries = WordNet.entries();
    List<String> lines = entries.stream().map(WordNet.Entry::line).toList();
    int train = lines.size() - HELD_OUT;
    say(start, "Text: " + entries.size() + " dictionary entries, " + HELD_OUT + " held out");
    write(root, "text.txt", String.join("\n", lines.subList(0, train)));
    say(start, "Training a mixture of experts: attention on " + NEWER + ", experts on " + OLDER);
    HeterMoe estimator =
        new HeterMoe()
            .setModel("tiny-mixtral")
            .setTokenizer("byte")
            .setWorkDir(root + "/work")
            .setOutput(root + "/model")
            .setAttentionResource(NEWER)
            .setExpertResource(OLDER)
            .setEmulate("catalogue")
            .setSequenceLength(128)
            .setBatchSize(16)
            .setMicroBatches(4)
            .setSteps(steps)
            .setLearningRate(4e-3)
            .setWarmupSteps(Math.min(10, steps - 1));
    ClusterRun.Training training =
        spark.train(estimator, root + "/text.txt", lines.subList(train, lines.size()));

    List<Prompts.Prompt> prompts = new ArrayList<>(Prompts.fewShot(entries, 16, 7));
    prompts.addAll(Prompts.questions(entries, 4, 6, 3000, 7));
    List<String> texts = prompts.stream().map(Prompts.Prompt::text).toList();
    say(start, "Prefilling " + texts.size() + " prompts in three modes, caches on HDFS");
    List<PrefillTable.Pass> passes = new ArrayList<>();
    // The first pass writes the caches, and warms up the executors for the other three.
    for (String name : List.of("first", "compute", "load", "cake")) {
      String mode = name.equals("first") ? "cake" : name;
      CakePrefill prefill =
          new CakePrefill()
              .setModelPath(training.folder())
              .setCachePath(root + "/cache")
              .setMode(mode)
              .setMaxPromptTokens(4096)
              .setTasks(2);
      long began = System.nanoTime();
      List<ClusterRun.Prefilled> rows = spark.prefill(prefill, texts);
      passes.add(
          new PrefillTable.Pass(
              name, rows, Duration.ofNanos(System.nanoTime() - began).toMillis() / 1e3));
      say(start, "  " + name + " done");
    }
    return new Report(training, prompts, passes);
  }

  private static void write(String root, String name, String text) {
    FileStore store = HadoopFileStore.of(Map.of("fs.defaultFS", root).entrySet());
    try (NewFile file = store.create(FileStore.in(root, name))) {
      file.write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
      Check.that(file.publish(), "%s exists in a new file system", file.path());
    }
  }

  private static Map<String, String> settings(LocalCluster cluster) {
    Map<String, String> conf = new TreeMap<>(cluster.conf());
    conf.put("spark.app.name", "quickstart");
    conf.put("spark.plugins", "org.mixedgpu.hetermoe.spark.gang.GangPlugin");
    conf.put("spark.dynamicAllocation.enabled", "true");
    conf.put("spark.dynamicAllocation.maxExecutors", "2");
    conf.put("spark.executor.cores", "1");
    conf.put("spark.executor.memory", "640m");
    conf.put("spark.locality.wait", "0");
    conf.put("spark.ui.enabled", "false");
    conf.put("spark.sql.shuffle.partitions", "2");
    return conf;
  }

  private static double elapsed(long start) {
    return (System.nanoTime() - start) / 1e9;
  }

  private static void say(long start, String text) {
    System.out.printf(Locale.ROOT, "[%5.1f s] %s%n", elapsed(start), text);
  }
}
