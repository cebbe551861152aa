package org.mixedgpu.hetermoe.exchange;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.mixedgpu.tensor.Tensor;

/**
 * What an {@link Exchange} means in addition whose messages wait for their receiver in host memory:
 * a channel goes both ways, and only the bounded queue holds a sender.
 */
public abstract class HostExchangeContract extends ExchangeContract {
  @Test
  void aMessageLargerThanTheQueuePassesWithoutAReceiver() throws Exception {
    open(2, LIMITS);
    Tensor[] out = {floats(0, 3000, 1024), floats(1, 3000, 1024)};
    Tensor[] in = {floats(0, 3000, 1024), floats(1, 3000, 1024)};
    fill(0, out[0], 5);
    fill(1, out[1], 5);
    // Both send before either receives: as in the all-reduce.
    Future<?> other =
        run(
            () -> {
              channel(1).send(0, new int[] {1}, out[1]);
              return null;
            });
    channel(0).send(1, new int[] {0}, out[0]);
    other.get();
    assertThat(channel(0).receive(1, in[0]).header()).containsExactly(1);
    assertThat(channel(1).receive(0, in[1]).header()).containsExactly(0);
    assertThat(first(0, in[0], 3000 * 1024)).containsOnly(5);
    assertThat(first(1, in[1], 3000 * 1024)).containsOnly(5);
  }

  @Test
  void aFullQueueHoldsTheSenderUntilTheReceiverTakes() throws Exception {
    open(2, LIMITS);
    Tensor out = floats(0, 128, 1024);
    Tensor in = floats(1, 128, 1024);
    AtomicInteger sent = new AtomicInteger();
    Future<?> sender =
        run(
            () -> {
              for (int i = 0; i < 64; i++) {
                channel(0).send(1, new int[] {i}, out);
                sent.incrementAndGet();
              }
              return null;
            });
    int before = -1;
    while (sent.get() != before) {
      before = sent.get();
      Thread.sleep(300);
    }
    assertThat(before).isLessThan(64);
    // Another channel does not wait for the full one.
    member(0).channel("other").send(1, new int[] {1}, out);
    assertThat(member(1).channel("other").receive(0, in).header()).containsExactly(1);
    for (int i = 0; i < 64; i++) {
      assertThat(channel(1).receive(0, in).header()).containsExactly(i);
    }
    sender.get();
  }

  @Test
  void manyChannelsBetweenAllMembersKeepTheirMessagesApart() throws Exception {
    int size = 3;
    int channels = 6;
    int messages = 40;
    open(size, LIMITS);
    List<Future<?>> all = new ArrayList<>();
    for (int rank = 0; rank < size; rank++) {
      for (int c = 0; c < channels; c++) {
        int from = rank;
        int of = c;
        Channel channel = member(rank).channel("channel-" + c);
        Tensor out = floats(rank, 7, 33);
        Tensor in = floats(rank, 7, 33);
        all.add(
            run(
                () -> {
                  for (int i = 0; i < messages; i++) {
                    fill(from, out, 1000 * of + 100 * from + i);
                    for (int to = 0; to < size; to++) {
                      if (to != from) {
                        channel.send(to, new int[] {of, from, to, i}, out);
                      }
                    }
                  }
                  return null;
                }));
        all.add(
            run(
                () -> {
                  for (int i = 0; i < messages; i++) {
                    for (int peer = 0; peer < size; peer++) {
                      if (peer != from) {
                        assertThat(channel.receive(peer, in).header())
                            .containsExactly(of, peer, from, i);
                        assertThat(first(from, in, 7 * 33))
                            .containsOnly(1000 * of + 100 * peer + i);
                      }
                    }
                  }
                  return null;
                }));
      }
    }
    for (Future<?> each : all) {
      each.get();
    }
  }
}
