package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import scala.collection.JavaConverters;
import scala.reflect.ClassTag;
import scala.runtime.AbstractFunction1;

/** The Spark jobs of one epoch: started from threads of their own, cancelled together by a tag. */
final class Jobs<T extends Serializable> {
  private final JavaSparkContext spark;
  private final GangSpec spec;
  private final String tag;
  private final String description;
  private final List<CompletableFuture<List<MemberRun.Result<T>>>> running = new ArrayList<>();

  Jobs(JavaSparkContext spark, GangSpec spec, String tag, int epoch) {
    this.spark = spark;
    this.spec = spec;
    this.tag = tag;
    this.description = "Gang " + spec.name() + ", epoch " + epoch + ": ";
  }

  /** Two stages at once, each under the profile of its role. */
  void startProfiles(MemberRun<T> attention, MemberRun<T> expert) {
    start(spec.attention(), attention);
    start(spec.expert(), expert);
  }

  private void start(MemberSpec role, MemberRun<T> member) {
    JavaRDD<Integer> indexes = indexes(role.members());
    submit(
        member.role() + " members",
        () ->
            indexes
                .mapPartitions(index -> List.of(member.run(index.next())).iterator())
                .withResources(Profiles.of(spark.sc(), role))
                .collect());
  }

  /** One stage whose tasks start together or not at all. */
  void startBarrier(MemberRun<T> member) {
    JavaRDD<Integer> indexes = indexes(spec.size());
    ClassTag<MemberRun.Result<T>> tagOfResult =
        scala.reflect.ClassTag$.MODULE$.apply(MemberRun.Result.class);
    submit(
        "all members",
        () ->
            new JavaRDD<>(
                    indexes
                        .rdd()
                        .barrier()
                        .mapPartitions(new BarrierBody<>(member), false, tagOfResult),
                    tagOfResult)
                .collect());
  }

  private static final class BarrierBody<T extends Serializable>
      extends AbstractFunction1<
          scala.collection.Iterator<Integer>, scala.collection.Iterator<MemberRun.Result<T>>>
      implements Serializable {
    private static final long serialVersionUID = 1L;
    private final MemberRun<T> member;

    BarrierBody(MemberRun<T> member) {
      this.member = member;
    }

    @Override
    public scala.collection.Iterator<MemberRun.Result<T>> apply(
        scala.collection.Iterator<Integer> index) {
      try {
        Iterator<MemberRun.Result<T>> one = List.of(member.run(index.next())).iterator();
        return JavaConverters.asScalaIterator(one);
      } catch (Exception e) {
        throw sneaky(e);
      }
    }

    /** A Scala function declares no exceptions and may throw any. */
    @SuppressWarnings("unchecked")
    private static <E extends Throwable> RuntimeException sneaky(Throwable e) throws E {
      throw (E) e;
    }
  }

  private JavaRDD<Integer> indexes(int members) {
    // No preferred places: members go where their GPU is, and nothing waits for locality.
    return spark.parallelize(IntStream.range(0, members).boxed().toList(), members);
  }

  private void submit(String what, Supplier<List<MemberRun.Result<T>>> job) {
    CompletableFuture<List<MemberRun.Result<T>>> future = new CompletableFuture<>();
    Thread thread =
        new Thread(
            () -> {
              // Set here, as these belong to the thread that submits.
              spark.addJobTag(tag);
              spark.setInterruptOnCancel(true);
              spark.setJobDescription(description + what);
              try {
                future.complete(job.get());
              } catch (Throwable e) {
                future.completeExceptionally(e);
              }
            },
            "gang-" + spec.name() + "-" + what.replace(' ', '-'));
    thread.setDaemon(true);
    thread.start();
    running.add(future);
  }

  void cancel(String reason) {
    spark.cancelJobsWithTag(tag, reason);
  }

  /** Done in any way. */
  boolean ended() {
    return running.stream().allMatch(CompletableFuture::isDone);
  }

  /** Why a job has failed, or null. */
  Throwable failure() {
    for (CompletableFuture<?> job : running) {
      if (job.isCompletedExceptionally()) {
        return job.handle((value, e) -> e).join();
      }
    }
    return null;
  }

  /** Results of jobs that have all succeeded. */
  List<MemberRun.Result<T>> results() {
    return running.stream().flatMap(job -> job.join().stream()).toList();
  }
}
