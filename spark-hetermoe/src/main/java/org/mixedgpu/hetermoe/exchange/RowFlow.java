package org.mixedgpu.hetermoe.exchange;

import java.util.List;
import java.util.stream.IntStream;
import org.mixedgpu.base.Check;

/**
 * A channel whose messages have many rows, and which way they go on it. Between GPUs a sender's
 * lane waits for its receiver's, so that members which both sent and received on one channel could
 * wait in a circle.
 *
 * @param from ranks that send
 * @param to ranks that receive, none of them among the senders
 */
public record RowFlow(String channel, List<Integer> from, List<Integer> to) {
  public RowFlow {
    from = List.copyOf(from);
    to = List.copyOf(to);
    Check.input(
        to.stream().noneMatch(from::contains),
        "On channel %s rows flow one way: from ranks %s to ranks %s, which overlap",
        channel,
        from,
        to);
  }

  /** Ranks [first, end), for a flow's ends. */
  public static List<Integer> ranks(int first, int end) {
    return IntStream.range(first, end).boxed().toList();
  }

  boolean goes(int sender, int receiver) {
    return from.contains(sender) && to.contains(receiver);
  }

  /** Whom a rank sends to. */
  int[] to(int sender) {
    return from.contains(sender) ? array(to) : new int[0];
  }

  /** Whom a rank receives from. */
  int[] from(int receiver) {
    return to.contains(receiver) ? array(from) : new int[0];
  }

  private static int[] array(List<Integer> ranks) {
    return ranks.stream().mapToInt(Integer::intValue).toArray();
  }
}
