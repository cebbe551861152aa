package org.mixedgpu.local;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaSparkContext;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.base.MixedGpuException;

class LocalClusterIT {
  @TempDir Path folder;

  /** Submitted to the cluster: sums on executors, and writes and reads a file on the HDFS. */
  public static final class Sum {
    private Sum() {}

    public static void main(String[] arguments) throws Exception {
      try (JavaSparkContext spark = new JavaSparkContext(new SparkConf().setAppName("sum"))) {
        String file = arguments[0] + "/numbers";
        spark.parallelize(List.of(1, 2, 3, 4), 2).saveAsTextFile(file);
        int sum = spark.textFile(file).map(Integer::parseInt).reduce(Integer::sum);
        System.out.println("sum=" + sum);
      }
    }
  }

  @Test
  void startsAClusterOfUnequalWorkersRunsAnApplicationAndEndsIt() throws Exception {
    List<Long> children;
    try (LocalCluster cluster =
        LocalCluster.in(folder.resolve("cluster"))
            .hdfs()
            .worker(new WorkerSpec("new", 1, 1024, Map.of("gpu-hopper", List.of("0"))))
            .worker(new WorkerSpec("old", 1, 1024, Map.of("gpu-volta", List.of("0", "1"))))
            .start()) {
      children = ProcessHandle.current().children().map(ProcessHandle::pid).toList();
      assertThat(children).hasSizeGreaterThanOrEqualTo(5);
      String state =
          new String(
              cluster.masterUi().resolve("json/").toURL().openStream().readAllBytes(),
              StandardCharsets.UTF_8);
      assertThat(state).contains("gpu-hopper").contains("gpu-volta");
      URI hdfs = cluster.hdfs().orElseThrow();
      Submission.Result result =
          cluster.submit(
              Submission.of(
                  Sum.class.getName(),
                  Map.of("spark.executor.memory", "512m", "spark.executor.cores", "1"),
                  List.of(hdfs.toString())));
      assertThat(result.output()).contains("sum=10");
      assertThat(result.exitCode()).isZero();
    }
    assertThat(children)
        .allSatisfy(
            pid -> assertThat(ProcessHandle.of(pid).filter(ProcessHandle::isAlive)).isEmpty());
    assertThat(folder.resolve("cluster/logs/master.log")).isNotEmptyFile();
    assertThat(Files.exists(folder.resolve("cluster/data"))).isFalse();
  }

  @Test
  void aStartFailureShowsTheEndOfTheLogAndItsPath() {
    assertThatThrownBy(() -> LocalCluster.in(folder.resolve("cluster")).daemonHeap("1x").start())
        .isInstanceOf(MixedGpuException.class)
        .hasMessageContaining("master ended with code 1 while starting; log ")
        .hasMessageContaining("logs/master.log ends with:")
        .hasMessageContaining("Invalid maximum heap size: -Xmx1x");
    assertThat(folder.resolve("cluster/home")).doesNotExist();
  }
}
