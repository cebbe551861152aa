package org.mixedgpu.hetermoe.train;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.mixedgpu.backend.Event;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.exchange.Message;
import org.mixedgpu.hetermoe.plan.LaneKind;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.plan.Task;
import org.mixedgpu.hetermoe.plan.ZebraSchedule;
import org.mixedgpu.nn.Gradients;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * One side of the training of one rank: it puts the schedule's tasks on its lanes and knows how to
 * do each. Its parameters, gradients and activations live as long as the resources given.
 */
abstract class Member {
  final ZebraJob job;
  final int rank;
  final TrainingBackend backend;
  final ZebraSchedule schedule;
  final Parameters parameters;
  final Gradients grads;
  private final MemberLink link;
  private final MemberLanes lanes;
  private final Resources resources;
  private long gradientBytesTaken;
  private final List<Task> computeTasks;
  private final List<Submission> submissions = new ArrayList<>();

  /** Of the submissions in this step; null before the first. */
  private Event[] ends;

  /**
   * A task in the order of submission.
   *
   * @param after index of the one at whose end it may start, or −1
   */
  private record Submission(Task task, int after, Runnable work) {}

  /**
   * @param resources closes everything that this member opens
   */
  Member(
      ZebraJob job,
      TrainingBackend backend,
      MemberLink link,
      MemberLanes lanes,
      Resources resources,
      Parameters parameters) {
    this.job = job;
    this.rank = link.rank();
    this.backend = backend;
    this.link = link;
    this.lanes = lanes;
    this.resources = resources;
    this.schedule = job.plan().schedule();
    Role role = job.plan().role(rank);
    this.computeTasks =
        schedule.tasks(role, LaneKind.COMPUTE).stream()
            .filter(task -> job.plan().takesPart(rank, task))
            .toList();
    this.parameters = parameters;
    this.grads = own(Gradients.of(parameters));
  }

  /**
   * Before a step's tasks: takes its tokens and learns what their loss is divided by.
   *
   * @param lossScale factor on the loss that gradients are computed of
   */
  abstract void begin(long step, float lossScale);

  /** Reads what the next step needs and brings it to the device, while this one's tasks run. */
  abstract void prefetch(long step);

  /** Does a task, on its lane. */
  abstract void run(Task task);

  /** The task on a sending lane that passes on what this compute task made, or null. */
  abstract Task sends(Task compute);

  /** The task that last uses the memory that this receiving task writes, or null. */
  abstract Task frees(Task receive);

  /** Makes gradients equal on all members that share parameters. */
  abstract void reduceGradients();

  /** Payload of {@link #reduceGradients} so far. */
  abstract long gradientBytesSent();

  /** Sum over this rank's targets, after a step. */
  abstract double lossSum();

  abstract double auxLoss();

  /** The targets of the whole batch; 0 on expert ranks, which don't know. */
  abstract long targets();

  /**
   * Queues all tasks of a step. Each task is queued after what it waits for, so that its event
   * exists; within each lane this is the schedule's order.
   */
  final void submitStep() {
    grads.begin();
    if (ends == null) {
      planSubmissions();
      ends = new Event[submissions.size()];
    }
    for (int i = 0; i < ends.length; i++) {
      Submission next = submissions.get(i);
      if (next.after >= 0) {
        lanes.await(next.task.lane(), ends[next.after]);
      }
      ends[i] = lanes.submit(next.task, next.work);
    }
  }

  /** The same in every step; asks the subclass, so not before the first. */
  private void planSubmissions() {
    Map<Task, Integer> planned = new HashMap<>();
    for (Task compute : computeTasks) {
      Task needs = schedule.dependency(compute);
      boolean received = needs != null && needs.lane() != LaneKind.COMPUTE;
      if (received) {
        plan(planned, needs, frees(needs));
      }
      plan(planned, compute, received ? needs : null);
      Task passedOn = sends(compute);
      if (passedOn != null) {
        plan(planned, passedOn, compute);
      }
    }
  }

  private void plan(Map<Task, Integer> planned, Task task, Task after) {
    planned.put(task, submissions.size());
    submissions.add(new Submission(task, after == null ? -1 : planned.get(after), () -> run(task)));
  }

  static MixedGpuException unexpected(Task task) {
    return new MixedGpuException(Fault.BUG, "Task " + task + " is not one of this role");
  }

  /** Sends on the task's lane. */
  final void send(Task task, int peer, int[] header, Tensor rows) {
    link.send(task.lane(), peer, header, rows);
  }

  /** Receives on the task's lane. */
  final Message receive(Task task, int peer, Tensor into) {
    return link.receive(task.lane(), peer, into);
  }

  /** Payload since the last call. */
  final long takeBytesSent() {
    long gradients = gradientBytesSent() - gradientBytesTaken;
    gradientBytesTaken += gradients;
    return link.takeBytesSent() + gradients;
  }

  final Tensor rows(long rows) {
    return own(backend.allocate(backend.computeType(), Shape.of(rows, job.model().hidden())));
  }

  final <T extends AutoCloseable> T own(T resource) {
    return resources.own(resource);
  }
}
