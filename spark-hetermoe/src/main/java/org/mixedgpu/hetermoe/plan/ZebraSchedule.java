package org.mixedgpu.hetermoe.plan;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.mixedgpu.base.Check;

/**
 * The order of tasks on each lane: Theorem 1 of "HeterMoE: Efficient Training of Mixture-of-Experts
 * Models on Heterogeneous GPUs" (Zebra parallelism). Layer by layer, within a layer micro-batch by
 * micro-batch; in the last attention stage, which here is the head, each micro-batch goes forward
 * and at once backward; backward visits micro-batches in the same order. Communication is issued in
 * the order of the tasks it depends on.
 *
 * <p>Layers without experts are folded into attention: ATTENTION of a layer does all since the
 * previous layer with experts, HEAD what comes after the last.
 */
public final class ZebraSchedule {
  private final int layers;
  private final int[] moeLayers;
  private final int microBatches;

  private ZebraSchedule(int layers, int[] moeLayers, int microBatches) {
    this.layers = layers;
    this.moeLayers = moeLayers;
    this.microBatches = microBatches;
  }

  /**
   * @param moe for each decoder layer, whether it has experts
   */
  public static ZebraSchedule of(boolean[] moe, int microBatches) {
    Check.input(microBatches >= 1, "A step needs micro-batches; found %d", microBatches);
    int[] moeLayers = new int[moe.length];
    int count = 0;
    for (int layer = 0; layer < moe.length; layer++) {
      if (moe[layer]) {
        moeLayers[count++] = layer;
      }
    }
    Check.input(
        count > 0,
        "None of the %d layers has experts, so there is nothing for expert ranks to do; train a"
            + " dense model in one process",
        moe.length);
    return new ZebraSchedule(moe.length, Arrays.copyOf(moeLayers, count), microBatches);
  }

  public int layers() {
    return layers;
  }

  public int microBatches() {
    return microBatches;
  }

  /** Layers with experts, ascending. */
  public int[] moeLayers() {
    return moeLayers.clone();
  }

  /** The layer with experts before this one (or before the head), or −1. */
  public int moeBefore(int layer) {
    int before = -1;
    for (int moe : moeLayers) {
      if (moe < layer) {
        before = moe;
      }
    }
    return before;
  }

  /** The layer with experts after this one, or the number of layers, which stands for the head. */
  public int moeAfter(int layer) {
    for (int moe : moeLayers) {
      if (moe > layer) {
        return moe;
      }
    }
    return layers;
  }

  /** What a lane of a rank of this role does, in order. */
  public List<Task> tasks(Role role, LaneKind lane) {
    return switch (lane) {
      case COMPUTE ->
          role == Role.ATTENTION ? attention() : passes(TaskKind.EXPERT, TaskKind.EXPERT);
      case DISPATCH -> passes(TaskKind.DISPATCH, TaskKind.COMBINE);
      case COMBINE -> passes(TaskKind.COMBINE, TaskKind.DISPATCH);
    };
  }

  private List<Task> attention() {
    List<Task> tasks = new ArrayList<>();
    forward(tasks, TaskKind.ATTENTION);
    for (int j = 0; j < microBatches; j++) {
      tasks.add(new Task(TaskKind.HEAD, layers, j, Direction.FORWARD));
      tasks.add(new Task(TaskKind.HEAD, layers, j, Direction.BACKWARD));
    }
    backward(tasks, TaskKind.ATTENTION);
    return tasks;
  }

  private List<Task> passes(TaskKind forward, TaskKind backward) {
    List<Task> tasks = new ArrayList<>();
    forward(tasks, forward);
    backward(tasks, backward);
    return tasks;
  }

  private void forward(List<Task> tasks, TaskKind kind) {
    for (int layer : moeLayers) {
      for (int j = 0; j < microBatches; j++) {
        tasks.add(new Task(kind, layer, j, Direction.FORWARD));
      }
    }
  }

  private void backward(List<Task> tasks, TaskKind kind) {
    for (int i = moeLayers.length - 1; i >= 0; i--) {
      for (int j = 0; j < microBatches; j++) {
        tasks.add(new Task(kind, moeLayers[i], j, Direction.BACKWARD));
      }
    }
  }

  /** The task whose result this one needs first, or null: the first attention has none. */
  public Task dependency(Task task) {
    int layer = task.layer();
    int j = task.microBatch();
    Direction direction = task.direction();
    boolean forward = direction == Direction.FORWARD;
    return switch (task.kind()) {
      case ATTENTION -> {
        if (!forward) {
          yield new Task(TaskKind.DISPATCH, layer, j, direction);
        }
        int before = moeBefore(layer);
        yield before < 0 ? null : new Task(TaskKind.COMBINE, before, j, direction);
      }
      case HEAD ->
          forward
              ? new Task(TaskKind.COMBINE, moeBefore(layers), j, direction)
              : new Task(TaskKind.HEAD, layers, j, Direction.FORWARD);
      case EXPERT -> new Task(forward ? TaskKind.DISPATCH : TaskKind.COMBINE, layer, j, direction);
      case DISPATCH ->
          new Task(forward ? TaskKind.ATTENTION : TaskKind.EXPERT, layer, j, direction);
      case COMBINE -> forward ? new Task(TaskKind.EXPERT, layer, j, direction) : stageAfter(task);
      case UPDATE -> null;
    };
  }

  /** In the backward pass the stage after a layer produces the gradient of its experts' results. */
  private Task stageAfter(Task combine) {
    int after = moeAfter(combine.layer());
    TaskKind kind = after == layers ? TaskKind.HEAD : TaskKind.ATTENTION;
    return new Task(kind, after, combine.microBatch(), Direction.BACKWARD);
  }
}
