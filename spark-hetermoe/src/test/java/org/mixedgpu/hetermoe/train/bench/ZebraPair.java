package org.mixedgpu.hetermoe.train.bench;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.plan.Timeline;
import org.mixedgpu.hetermoe.train.MemberReport;
import org.mixedgpu.hetermoe.train.StepReport;
import org.mixedgpu.local.TalkingJvm;

/** The attention rank in this process, and the expert rank in another one. */
final class ZebraPair implements AutoCloseable {
  private static final int WARM_UP = 2;
  private static final Duration LIMIT = Duration.ofSeconds(120);

  private final ZebraPeer attention = new ZebraPeer(0);
  private final TalkingJvm expert;
  private final String expertBackend;
  private Rows rows;

  ZebraPair() throws InterruptedException {
    expert = TalkingJvm.start("expert", List.of(), ZebraPeer.class, List.of());
    expertBackend = expert.await("ready", LIMIT);
  }

  TrainingBackend backend() {
    return attention.backend();
  }

  String expertBackend() {
    return expertBackend;
  }

  /**
   * Trains; the caller may go on with other runs also after a failure.
   *
   * @param way of the rows
   */
  ZebraTimes run(ZebraRun run, Rows way) throws InterruptedException {
    if (!attention.isConnected() || rows != way) {
      connect(way);
    }
    expert.tell("run " + run);
    List<StepReport> reports = new ArrayList<>();
    MemberReport own;
    try {
      own = attention.run(run, reports::add);
    } catch (RuntimeException e) {
      attention.disconnect();
      expert.await("failed", LIMIT);
      throw e;
    }
    long[] packed =
        Arrays.stream(expert.await("done", LIMIT).split(" ")).mapToLong(Long::parseLong).toArray();
    return new ZebraTimes(
        List.copyOf(reports.subList(WARM_UP, reports.size())),
        Timeline.merge(List.of(own.timeline().orElseThrow(), Timeline.unpack(packed))));
  }

  private void connect(Rows way) throws InterruptedException {
    // Leaving NCCL's groups waits for the others to leave.
    expert.tell("leave");
    attention.disconnect();
    expert.await("left", LIMIT);
    int port = attention.listen();
    expert.tell("connect " + way + " " + port);
    attention.connect(way, Integer.parseInt(expert.await("port", LIMIT)));
    expert.await("connected", LIMIT);
    rows = way;
  }

  @Override
  public void close() {
    expert.tell("quit");
    attention.close();
    try {
      if (!expert.process().waitFor(20, TimeUnit.SECONDS)) {
        throw new MixedGpuException(Fault.EXHAUSTED, "The expert's process does not end");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } finally {
      expert.close();
    }
  }
}
