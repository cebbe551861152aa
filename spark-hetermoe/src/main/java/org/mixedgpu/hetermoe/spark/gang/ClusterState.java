package org.mixedgpu.hetermoe.spark.gang;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.spark.SparkContext;
import org.apache.spark.deploy.DeployMessages;
import org.apache.spark.deploy.master.WorkerInfo;
import org.apache.spark.rpc.RpcAddress;
import org.apache.spark.rpc.RpcTimeout;
import org.apache.spark.status.api.v1.ExecutorSummary;
import org.slf4j.LoggerFactory;
import scala.collection.JavaConverters;
import scala.concurrent.duration.Duration;
import scala.concurrent.duration.FiniteDuration;
import scala.reflect.ClassTag;

/** What the cluster has, in words, for the message of a gang that did not come together. */
final class ClusterState {
  private static final int SHOWN = 16;

  private ClusterState() {}

  /** Never fails: a message about one problem must not be lost to another. */
  static String describe(SparkContext spark) {
    String text = executors(spark);
    if (spark.master().startsWith("spark://")) {
      text += workers(spark);
    }
    return text;
  }

  private static String executors(SparkContext spark) {
    List<String> executors = new ArrayList<>();
    for (ExecutorSummary executor :
        JavaConverters.seqAsJavaList(spark.statusStore().executorList(true))) {
      if (!executor.id().equals("driver")) {
        executors.add(
            executor.id()
                + " "
                + JavaConverters.mapAsJavaMap(executor.resources()).keySet()
                + " with "
                + executor.activeTasks()
                + " active tasks");
      }
    }
    return executors.isEmpty()
        ? "the application has no executor"
        : "the application has executors " + shown(executors);
  }

  /** Asks the Master what its page shows. */
  private static String workers(SparkContext spark) {
    try {
      String first = spark.master().substring("spark://".length()).split(",")[0];
      FiniteDuration limit = Duration.create(5, TimeUnit.SECONDS);
      DeployMessages.MasterStateResponse state =
          spark
              .env()
              .rpcEnv()
              .setupEndpointRef(RpcAddress.fromSparkURL("spark://" + first), "Master")
              .askSync(
                  DeployMessages.RequestMasterState$.MODULE$,
                  new RpcTimeout(limit, "5 s"),
                  ClassTag.apply(DeployMessages.MasterStateResponse.class));
      List<String> workers = new ArrayList<>();
      for (WorkerInfo worker : state.workers()) {
        workers.add(
            worker.state()
                + " "
                + JavaConverters.mapAsJavaMap(worker.resources()).keySet()
                + ", free "
                + worker.coresFree()
                + " of "
                + worker.cores()
                + " cores and "
                + worker.memoryFree()
                + " of "
                + worker.memory()
                + " MiB");
      }
      return workers.isEmpty() ? "; the Master has no Worker" : "; Workers: " + shown(workers);
    } catch (RuntimeException e) {
      LoggerFactory.getLogger(ClusterState.class).debug("The Master did not say its state", e);
      return "";
    }
  }

  private static String shown(List<String> all) {
    return all.size() <= SHOWN
        ? String.join("; ", all)
        : String.join("; ", all.subList(0, SHOWN)) + " and " + (all.size() - SHOWN) + " more";
  }
}
