package org.mixedgpu.hetermoe.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.spark.SparkConf;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.local.LocalCluster;
import org.mixedgpu.local.WorkerSpec;
import org.mixedgpu.nn.checkpoint.Checkpoint;

/**
 * The estimator on a real Master and two Workers with a GPU each, attention on one and experts on
 * the other, rows from GPU to GPU: against one process on the CPU, with the second GPU emulated as
 * an older one, encrypted, and with an executor that is killed. Run it on a machine with two GPUs:
 *
 * <pre>
 * ./mvnw -Pgpu -Dtest.groups=gpu2 -pl spark-hetermoe verify -Dit.test=GpuPairIT
 * </pre>
 *
 * <p>With {@code -Dmixedgpu.test.backend=cpu} the same runs on the CPU, where rows pass through the
 * network: that tries the test itself.
 */
@Tag("gpu2")
@Timeout(300)
class GpuPairIT {
  private static final Pattern CHOICE = Pattern.compile("Rows pass through (.*)");
  private static final Duration START = Duration.ofSeconds(120);

  @TempDir static Path folder;
  private static LocalCluster cluster;
  private static SparkSession spark;
  private static GpuRuns runs;
  private static String first;
  private static String second;

  @BeforeAll
  static void start() throws IOException {
    first = "gpu-" + GpuRuns.generation(0);
    second = "gpu-" + GpuRuns.generation(1);
    cluster =
        LocalCluster.in(folder.resolve("cluster"))
            .worker(
                new WorkerSpec(
                    "new", 4, 8192, Map.of(first, List.of("0"), "gpu-ampere", List.of("0"))))
            .worker(
                new WorkerSpec(
                    "old", 4, 8192, Map.of(second, List.of("1"), "gpu-volta", List.of("1"))))
            .start();
    runs = GpuRuns.in(folder);
  }

  @AfterAll
  static void stop() {
    stopApplication();
    if (cluster != null) {
      cluster.close();
    }
  }

  private static void stopApplication() {
    if (spark != null) {
      spark.stop();
      spark = null;
    }
  }

  /** A new application, so that its executors' logs are only its own. */
  private static FileStore application(Map<String, String> settings) {
    stopApplication();
    SparkConf conf = GpuRuns.conf(cluster, "gpu-pair-it");
    conf.set("spark.hetermoe.exchange", "auto");
    settings.forEach(conf::set);
    spark = SparkSession.builder().config(conf).getOrCreate();
    return HadoopSettings.store(conf);
  }

  /** What executors of the running application have logged. */
  private static String executorLogs() {
    String application = spark.sparkContext().applicationId();
    try (Stream<Path> files = Files.walk(folder.resolve("cluster").resolve("data"))) {
      return files
          .filter(f -> f.toString().contains(application) && f.endsWith("stderr"))
          .map(GpuPairIT::read)
          .collect(Collectors.joining("\n"));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String read(Path file) {
    try {
      // Not readString: an executor may be in the middle of a character.
      return new String(Files.readAllBytes(file), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void assertRowsPassed(String way) {
    Matcher choices = CHOICE.matcher(executorLogs());
    assertThat(choices.find()).as("rank 0 says what rows pass through").isTrue();
    do {
      System.out.println("Rows passed through " + choices.group(1));
      assertThat(choices.group(1)).startsWith(way);
    } while (choices.find());
  }

  /** As GpuClusterIT asks of one GPU, which says why. */
  @ParameterizedTest(name = "{0}, {1} micro-batches")
  @CsvSource({"fp32, 1, 1e-4, 1e-4", "fp32, 3, 1e-4, 1e-4", "bf16, 2, 1e-2, 1e-2"})
  void aGpuForEachRoleTrainsWhatOneProcessTrainsOnTheCpu(
      String precision, int microBatches, double lossLimit, double rmsLimit) {
    FileStore store = application(Map.of());
    HeterMoe run = runs.estimator(first, second, precision).setMicroBatches(microBatches);
    runs.assertTrainsAsOneProcess(spark, store, run, lossLimit, rmsLimit);
    assertRowsPassed(
        GpuRuns.CUDA
            ? "nccl: 2 members on as many GPUs"
            : "network: rank 0 has no GPU; rank 1 has no GPU");
  }

  @Test
  void theSecondGpuEmulatedAsAnOlderOneLeavesEveryBit() {
    FileStore store = application(Map.of());
    HeterMoeModel plain = runs.estimator(first, second, "bf16").fit(runs.text(spark));
    HeterMoeModel emulated =
        runs.estimator("gpu-ampere", "gpu-volta", "bf16")
            .setEmulate("catalogue")
            .fit(runs.text(spark));
    assertThat(Checkpoint.digest(store, emulated.folder()))
        .isEqualTo(Checkpoint.digest(store, plain.folder()));
    assertRowsPassed(GpuRuns.CUDA ? "nccl: " : "network: ");
    assertThat(executorLogs()).contains("computes on emulated volta on ");
  }

  @Test
  void whereSparkEncryptsRowsPassThroughTheNetwork() {
    FileStore store = application(Map.of("spark.io.encryption.enabled", "true"));
    HeterMoe run = runs.estimator(first, second, "fp32").setMicroBatches(2);
    runs.assertTrainsAsOneProcess(spark, store, run, 1e-4, 1e-4);
    assertRowsPassed("network: Spark is told to encrypt, and NCCL does not");
  }

  @Test
  void aKilledExecutorOfExpertsFailsTheRunWithinSecondsAndIsNamed() throws Exception {
    application(Map.of());
    HeterMoe run = runs.estimator(first, second, "fp32").setMicroBatches(3).setSteps(1_000_000);
    CompletableFuture<HeterMoeModel> training =
        CompletableFuture.supplyAsync(() -> run.fit(runs.text(spark)));
    awaitLog("Rank 1 \\(expert\\) computes on");
    // Steps take milliseconds: it is in the middle of them.
    Thread.sleep(4000);
    assertThat(training).isNotDone();
    ProcessHandle executor = executorOf("Rank 1 \\(expert\\) computes on");
    assertThat(executor.destroyForcibly()).isTrue();
    long start = System.nanoTime();
    assertThatThrownBy(() -> training.get(30, TimeUnit.SECONDS))
        .isInstanceOf(ExecutionException.class)
        .cause()
        .isInstanceOf(MixedGpuException.class)
        .hasMessageContaining("rank 1 (expert)")
        .hasMessageContaining("its executor is gone");
    System.out.printf("the run failed after %.1f s%n", (System.nanoTime() - start) / 1e9);
    assertThat(executor.isAlive()).isFalse();
    // The other member has left its GPU; the next run can have it.
    HeterMoeModel next = runs.estimator(first, second, "fp32").fit(runs.text(spark));
    assertThat(next.history().count()).isEqualTo(10);
  }

  private static void awaitLog(String pattern) throws InterruptedException {
    Pattern wanted = Pattern.compile(pattern);
    long deadline = System.nanoTime() + START.toNanos();
    while (!wanted.matcher(executorLogs()).find()) {
      assertThat(System.nanoTime())
          .as("'%s' is not in %s", pattern, executorLogs())
          .isLessThan(deadline);
      Thread.sleep(100);
    }
  }

  /** The process whose log has this, below a Worker, which is below this process. */
  private static ProcessHandle executorOf(String pattern) throws IOException {
    Pattern wanted = Pattern.compile(pattern);
    String application = spark.sparkContext().applicationId();
    String id;
    try (Stream<Path> files = Files.walk(folder.resolve("cluster").resolve("data"))) {
      id =
          files
              .filter(f -> f.toString().contains(application) && f.endsWith("stderr"))
              .filter(f -> wanted.matcher(read(f)).find())
              .map(f -> f.getParent().getFileName().toString())
              .findFirst()
              .orElseThrow();
    }
    List<String> words = List.of("--executor-id", id);
    return ProcessHandle.current()
        .descendants()
        .filter(
            process ->
                process
                    .info()
                    .arguments()
                    .map(List::of)
                    .filter(all -> all.contains(application))
                    .filter(all -> java.util.Collections.indexOfSubList(all, words) >= 0)
                    .isPresent())
        .findFirst()
        .orElseThrow();
  }
}
