package org.mixedgpu.hetermoe.plan;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * What each lane of each rank did when, in one step: predicted or measured, in the same form.
 *
 * @param attentionRanks ranks below this are attention ranks
 * @param ranks all ranks
 * @param events by start, then rank, then lane; times count from the start of the step
 */
public record Timeline(int attentionRanks, int ranks, List<Event> events) {

  /**
   * One task on one lane.
   *
   * @param startNanos since the start of the step
   * @param endNanos since the start of the step
   */
  public record Event(int rank, Task task, long startNanos, long endNanos) {
    private boolean isReceived(int attentionRanks) {
      return task.isReceivedBy(rank < attentionRanks ? Role.ATTENTION : Role.EXPERT);
    }

    private Event notBefore(long nanos) {
      return new Event(rank, task, Math.min(endNanos, Math.max(startNanos, nanos)), endNanos);
    }
  }

  public Timeline {
    events =
        events.stream()
            .sorted(
                Comparator.comparingLong(Event::startNanos)
                    .thenComparingInt(Event::rank)
                    .thenComparing(event -> event.task().lane())
                    .thenComparingLong(Event::endNanos))
            .toList();
  }

  private static final int PACKED = 7;

  /** As integers, for sending; {@link #unpack} is the inverse. */
  public long[] pack() {
    long[] packed = new long[PACKED * events.size() + 2];
    packed[0] = attentionRanks;
    packed[1] = ranks;
    int at = 2;
    for (Event event : events) {
      Task task = event.task();
      packed[at++] = event.rank();
      packed[at++] = task.kind().ordinal();
      packed[at++] = task.layer();
      packed[at++] = task.microBatch();
      packed[at++] = task.direction().ordinal();
      packed[at++] = event.startNanos();
      packed[at++] = event.endNanos();
    }
    return packed;
  }

  public static Timeline unpack(long[] packed) {
    List<Event> events = new ArrayList<>();
    for (int at = 2; at < packed.length; at += PACKED) {
      Task task =
          new Task(
              TaskKind.values()[(int) packed[at + 1]],
              (int) packed[at + 2],
              (int) packed[at + 3],
              Direction.values()[(int) packed[at + 4]]);
      events.add(new Event((int) packed[at], task, packed[at + 5], packed[at + 6]));
    }
    return new Timeline((int) packed[0], (int) packed[1], events);
  }

  /**
   * The parts that all ranks have recorded, as one. A receiver can't tell waiting from receiving;
   * here its events begin when the first sender's do.
   */
  public static Timeline merge(List<Timeline> parts) {
    int attentionRanks = parts.get(0).attentionRanks();
    Map<Task, Long> firstSent = new HashMap<>();
    List<Event> all = new ArrayList<>();
    for (Timeline part : parts) {
      all.addAll(part.events());
    }
    for (Event event : all) {
      if (!event.isReceived(attentionRanks)) {
        firstSent.merge(event.task(), event.startNanos(), Math::min);
      }
    }
    all.replaceAll(
        event -> {
          Long sent = event.isReceived(attentionRanks) ? firstSent.get(event.task()) : null;
          return sent == null ? event : event.notBefore(sent);
        });
    return new Timeline(attentionRanks, parts.get(0).ranks(), all);
  }

  /** End of the last event. */
  public long spanNanos() {
    return events.stream().mapToLong(Event::endNanos).max().orElse(0);
  }

  /** Time in which the compute lane of a rank had work, as a share of the span. */
  public double busyShare(int rank) {
    long busy =
        events.stream()
            .filter(event -> event.rank() == rank && event.task().lane() == LaneKind.COMPUTE)
            .mapToLong(event -> event.endNanos() - event.startNanos())
            .sum();
    long span = spanNanos();
    return span == 0 ? 0 : (double) busy / span;
  }

  /** Mean busy share of the ranks of one side. */
  public double busyShare(Role role) {
    int first = role == Role.ATTENTION ? 0 : attentionRanks;
    int last = role == Role.ATTENTION ? attentionRanks : ranks;
    double sum = 0;
    for (int rank = first; rank < last; rank++) {
      sum += busyShare(rank);
    }
    return sum / (last - first);
  }

  /** For plots: one JSON object, an event a line. */
  public String toJson() {
    StringBuilder json = new StringBuilder(96 * events.size() + 96);
    json.append("{\"attentionRanks\":").append(attentionRanks);
    json.append(",\"ranks\":").append(ranks);
    json.append(",\"spanNanos\":").append(spanNanos());
    json.append(",\"events\":[");
    String separator = "\n";
    for (Event event : events) {
      Task task = event.task();
      json.append(separator)
          .append("{\"rank\":")
          .append(event.rank())
          .append(",\"lane\":\"")
          .append(task.lane().label())
          .append("\",\"task\":\"")
          .append(task.kind().label())
          .append("\",\"layer\":")
          .append(task.layer())
          .append(",\"microBatch\":")
          .append(task.microBatch())
          .append(",\"direction\":\"")
          .append(task.direction().name().toLowerCase(Locale.ROOT))
          .append("\",\"startNanos\":")
          .append(event.startNanos())
          .append(",\"endNanos\":")
          .append(event.endNanos())
          .append('}');
      separator = ",\n";
    }
    return json.append("\n]}\n").toString();
  }
}
