package org.mixedgpu.hetermoe.spark.gang;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.spark.SparkConf;
import org.apache.spark.SparkJobInfo;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.status.api.v1.ExecutorSummary;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.MethodOrderer;
import org.junit.jupiter.api.Order;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestMethodOrder;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.local.LocalCluster;
import org.mixedgpu.local.WorkerSpec;
import scala.collection.JavaConverters;

/** Gangs on a real Master and two unequal Workers. One cluster, and two contexts, for all tests. */
@Timeout(120)
@TestMethodOrder(MethodOrderer.OrderAnnotation.class)
class GangIT {
  private static LocalCluster cluster;
  private static JavaSparkContext spark;

  @BeforeAll
  static void start() {
    cluster =
        LocalCluster.in(Path.of("target", "gang-it-" + ProcessHandle.current().pid()))
            .worker(
                new WorkerSpec(
                    "new",
                    4,
                    3072,
                    Map.of("gpu-hopper", List.of("0", "1"), "gpu", List.of("hopper-0"))))
            .worker(
                new WorkerSpec(
                    "old",
                    4,
                    3072,
                    Map.of("gpu-volta", List.of("0", "1"), "gpu", List.of("volta-0"))))
            .start();
  }

  @AfterAll
  static void stop() {
    if (spark != null) {
      spark.close();
    }
    cluster.close();
  }

  private static JavaSparkContext profiles() {
    if (spark == null) {
      spark = context(Map.of("spark.dynamicAllocation.enabled", "true"));
    }
    return spark;
  }

  private static JavaSparkContext context(Map<String, String> settings) {
    SparkConf conf = new SparkConf(false).setAppName("gang-it");
    cluster.conf().forEach(conf::set);
    conf.set("spark.plugins", GangPlugin.class.getName());
    conf.set("spark.executor.cores", "1");
    conf.set("spark.executor.memory", "512m");
    conf.set("spark.ui.enabled", "false");
    settings.forEach(conf::set);
    return new JavaSparkContext(conf);
  }

  private static GangSpec spec(int attention, int expert) {
    return GangSpec.of(
            "it",
            new MemberSpec(attention, "gpu-hopper", 1, 512, 64),
            new MemberSpec(expert, "gpu-volta", 1, 512, 64))
        .withRegistrationTimeout(Duration.ofSeconds(90))
        .withSilenceTimeout(Duration.ofSeconds(10));
  }

  /** No task of the gang runs any more, and no job. */
  private static void assertIdle(JavaSparkContext context) throws InterruptedException {
    long deadline = System.nanoTime() + Duration.ofSeconds(10).toNanos();
    int active = 1;
    while (active > 0 && System.nanoTime() < deadline) {
      active =
          JavaConverters.seqAsJavaList(context.sc().statusStore().executorList(true)).stream()
              .mapToInt(ExecutorSummary::activeTasks)
              .sum();
      Thread.sleep(100);
    }
    assertThat(active).as("active tasks").isZero();
    assertThat(context.statusTracker().getActiveJobIds()).isEmpty();
  }

  @Test
  @Order(1)
  void twoKindsOfExecutorsMeetAndExchangeTensorsBothWays() throws Exception {
    Queue<Object> reports = new ConcurrentLinkedQueue<>();
    List<String> results =
        Gang.run(
            profiles(),
            spec(2, 2).withListener((epoch, rank, value) -> reports.add(value)),
            GangTasks::exchangeBothWays);
    assertThat(results)
        .containsExactly(
            "attention 0 hopper 702",
            "attention 1 hopper 704",
            "expert 2 volta 3",
            "expert 3 volta 3");
    assertThat(reports).containsExactlyInAnyOrder(0, 1, 2, 3);
    assertIdle(spark);
  }

  @Test
  @Order(2)
  void aFailingMemberIsNamedAndBothSidesStop() throws Exception {
    int before = profiles().statusTracker().getJobIdsForGroup(null).length;
    long start = System.nanoTime();
    assertThatThrownBy(
            () ->
                Gang.run(
                    spark,
                    spec(2, 2),
                    member -> {
                      if (member.rank() == 3) {
                        throw new IllegalStateException("planted in rank 3");
                      }
                      return GangTasks.receiveFromExpert(member);
                    }))
        .isInstanceOf(MixedGpuException.class)
        .hasMessageContaining("Gang 'it' failed in epoch 0: rank 3 (expert) on 127.0.0.1, executor")
        .hasMessageContaining("java.lang.IllegalStateException: planted in rank 3")
        .hasCauseInstanceOf(MemberFailedException.class)
        .hasStackTraceContaining("GangIT");
    assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(30));
    assertIdle(spark);
    assertThat(spark.statusTracker().getJobIdsForGroup(null).length - before).isEqualTo(2);
  }

  /**
   * Rank 1's peers are stopped, and say so, long before it has cleaned up and says why it failed.
   */
  @Test
  @Order(3)
  void aMemberThatAbortsAndTakesLongToEndIsTheCause() throws Exception {
    assertThatThrownBy(
            () ->
                Gang.run(
                    profiles(),
                    spec(2, 2),
                    member -> {
                      if (member.rank() == 1) {
                        return GangTasks.abortAndFailWhenStopped(member);
                      }
                      return GangTasks.receiveFromExpert(member);
                    }))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BAD_INPUT))
        .hasMessageContaining("failed in epoch 0: rank 1 (attention)")
        .hasMessageContaining("planted in rank 1")
        .hasCauseInstanceOf(MemberFailedException.class);
    assertIdle(spark);
  }

  @Test
  @Order(4)
  void aKilledExecutorIsNamedAndTheNextEpochSucceeds() throws Exception {
    List<String> results =
        Gang.run(
            profiles(),
            spec(1, 1).withMaxRestarts(1),
            member -> {
              if (member.epoch() == 0 && member.role() == Role.EXPERT) {
                Thread.sleep(300); // the other side waits in receive by now
                Runtime.getRuntime().halt(137);
              }
              String result = GangTasks.exchangeBothWays(member);
              return result + " epoch " + member.epoch();
            });
    assertThat(results)
        .containsExactly("attention 0 hopper 201 epoch 1", "expert 1 volta 1 epoch 1");
    assertIdle(spark);
  }

  @Test
  @Order(5)
  void membersThatDoNotComeAreReportedAtTheDeadlineAndNothingKeepsRunning() throws Exception {
    GangSpec missing =
        GangSpec.of(
                "late",
                new MemberSpec(1, "gpu-hopper", 1, 512, 64),
                new MemberSpec(2, "gpu-pascal", 1, 512, 64))
            .withRegistrationTimeout(Duration.ofSeconds(12));
    assertThatThrownBy(() -> Gang.run(profiles(), missing, GangTasks::exchangeBothWays))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.EXHAUSTED))
        .hasMessageContaining("1 of 1 'attention' members (gpu-hopper, 1 cores, 576 MiB)")
        .hasMessageContaining("0 of 2 'expert' members (gpu-pascal, 1 cores, 576 MiB) registered")
        .hasMessageContaining("registered after 12 s")
        .hasMessageContaining("Workers: ALIVE")
        .hasMessageContaining("gpu-volta");
    assertIdle(spark);
    for (int job : spark.statusTracker().getJobIdsForGroup(null)) {
      SparkJobInfo info = spark.statusTracker().getJobInfo(job);
      assertThat(info.status()).isNotEqualTo(org.apache.spark.JobExecutionStatus.RUNNING);
    }
  }

  @Test
  @Order(6)
  void withoutDynamicAllocationOneBarrierStageFindsItsRolesByAddressAndEncrypts() throws Exception {
    if (spark != null) {
      spark.close();
      spark = null;
    }
    try (JavaSparkContext barrier =
        context(
            Map.of(
                "spark.executor.resource.gpu.amount",
                "1",
                "spark.task.resource.gpu.amount",
                "1",
                // Makes the exchange encrypt, without a secret for Master and Workers.
                "spark.io.encryption.enabled",
                "true"))) {
      List<String> results = Gang.run(barrier, spec(1, 1), GangTasks::exchangeBothWays);
      assertThat(results).containsExactly("attention 0 hopper 201", "expert 1 volta 1");
      assertIdle(barrier);
    }
  }
}
