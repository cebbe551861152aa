package org.mixedgpu.hetermoe.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import net.jqwik.api.Assume;
import net.jqwik.api.Example;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.constraints.Size;

class ZebraScheduleProperties {

  @Property
  void everyTaskIsThereOnceAndAfterWhatItNeeds(
      @ForAll @Size(min = 1, max = 8) List<Boolean> moe,
      @ForAll @IntRange(min = 1, max = 6) int microBatches) {
    Assume.that(moe.contains(true));
    ZebraSchedule schedule = ZebraSchedule.of(array(moe), microBatches);
    int stages = schedule.moeLayers().length;
    Set<Task> all = new HashSet<>();
    List<List<Task>> lanes = new ArrayList<>();
    for (Role role : Role.values()) {
      lanes.add(schedule.tasks(role, LaneKind.COMPUTE));
    }
    lanes.add(schedule.tasks(Role.EXPERT, LaneKind.DISPATCH));
    lanes.add(schedule.tasks(Role.EXPERT, LaneKind.COMBINE));
    int count = 0;
    for (List<Task> lane : lanes) {
      all.addAll(lane);
      count += lane.size();
    }
    assertThat(count).isEqualTo(all.size());
    assertThat(count).isEqualTo(2 * microBatches * (4 * stages + 1));

    // Run the lanes side by side; a task whose dependency never comes would stop them all.
    Set<Task> done = new HashSet<>();
    int[] next = new int[lanes.size()];
    boolean progress = true;
    while (progress) {
      progress = false;
      for (int lane = 0; lane < next.length; lane++) {
        while (next[lane] < lanes.get(lane).size()) {
          Task task = lanes.get(lane).get(next[lane]);
          Task needs = schedule.dependency(task);
          if (needs != null && !done.contains(needs)) {
            assertThat(all).contains(needs);
            break;
          }
          done.add(task);
          next[lane]++;
          progress = true;
        }
      }
    }
    assertThat(done).isEqualTo(all);
  }

  @Property
  void bothRolesUseTheSameOrderOnCommunicationLanes(
      @ForAll @IntRange(min = 1, max = 5) int layers,
      @ForAll @IntRange(min = 1, max = 5) int microBatches) {
    boolean[] moe = new boolean[layers];
    Arrays.fill(moe, true);
    ZebraSchedule schedule = ZebraSchedule.of(moe, microBatches);
    for (LaneKind lane : List.of(LaneKind.DISPATCH, LaneKind.COMBINE)) {
      List<Task> tasks = schedule.tasks(Role.ATTENTION, lane);
      assertThat(schedule.tasks(Role.EXPERT, lane)).isEqualTo(tasks);
      assertThat(tasks).allMatch(task -> task.lane() == lane);
    }
  }

  @Example
  void theOrderIsTheTheorems() {
    ZebraSchedule schedule = ZebraSchedule.of(new boolean[] {true, true}, 2);
    assertThat(names(schedule.tasks(Role.ATTENTION, LaneKind.COMPUTE)))
        .isEqualTo("A0.0f A0.1f A1.0f A1.1f H2.0f H2.0b H2.1f H2.1b A1.0b A1.1b A0.0b A0.1b");
    assertThat(names(schedule.tasks(Role.EXPERT, LaneKind.COMPUTE)))
        .isEqualTo("E0.0f E0.1f E1.0f E1.1f E1.0b E1.1b E0.0b E0.1b");
    assertThat(names(schedule.tasks(Role.ATTENTION, LaneKind.DISPATCH)))
        .isEqualTo("D0.0f D0.1f D1.0f D1.1f C1.0b C1.1b C0.0b C0.1b");
    assertThat(names(schedule.tasks(Role.ATTENTION, LaneKind.COMBINE)))
        .isEqualTo("C0.0f C0.1f C1.0f C1.1f D1.0b D1.1b D0.0b D0.1b");
  }

  @Example
  void denseLayersAreFoldedIntoTheNextStage() {
    ZebraSchedule schedule = ZebraSchedule.of(new boolean[] {false, true, false, true, false}, 1);
    assertThat(names(schedule.tasks(Role.ATTENTION, LaneKind.COMPUTE)))
        .isEqualTo("A1.0f A3.0f H5.0f H5.0b A3.0b A1.0b");
    assertThat(schedule.dependency(new Task(TaskKind.ATTENTION, 3, 0, Direction.FORWARD)))
        .isEqualTo(new Task(TaskKind.COMBINE, 1, 0, Direction.FORWARD));
    assertThat(schedule.dependency(new Task(TaskKind.COMBINE, 3, 0, Direction.BACKWARD)))
        .isEqualTo(new Task(TaskKind.HEAD, 5, 0, Direction.BACKWARD));
  }

  @Example
  void aModelWithoutExpertsIsRefused() {
    assertThatThrownBy(() -> ZebraSchedule.of(new boolean[3], 1))
        .hasMessageContaining("None of the 3 layers has experts");
  }

  private static boolean[] array(List<Boolean> moe) {
    boolean[] array = new boolean[moe.size()];
    for (int i = 0; i < array.length; i++) {
      array[i] = moe.get(i);
    }
    return array;
  }

  private static String names(List<Task> tasks) {
    return String.join(" ", tasks.stream().map(Task::toString).toList());
  }
}
