package org.mixedgpu.hetermoe.spark.gang;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.exchange.Channel;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** What members do in the tests. */
final class GangTasks {
  private GangTasks() {}

  /**
   * Every attention member sends its rank in rows to every expert, which adds its own and sends
   * them back. Returns role, rank, generation and the sum of what came back or came in.
   */
  static String exchangeBothWays(MemberContext member) {
    int rows = 300;
    try (TrainingBackend backend = Backends.cpu(new CpuOptions(1, 64L << 20));
        Tensor out = backend.allocate(DType.F32, Shape.of(rows, 64));
        Tensor in = backend.allocate(DType.F32, Shape.of(rows, 64))) {
      Exchange exchange = member.exchange(backend);
      Channel there = exchange.channel("dispatch");
      Channel back = exchange.channel("combine");
      double sum = 0;
      int attention = member.attentionMembers();
      if (member.role() == Role.ATTENTION) {
        backend.fill(out, member.rank() + 1);
        for (int expert = attention; expert < member.size(); expert++) {
          there.send(expert, new int[] {member.rank()}, out);
        }
        for (int expert = attention; expert < member.size(); expert++) {
          back.receive(expert, in);
          sum += first(backend, in);
        }
      } else {
        for (int peer = 0; peer < attention; peer++) {
          int from = there.receive(peer, in).header()[0];
          sum += first(backend, in);
          backend.fill(out, 100 * (member.rank() + 1));
          backend.add(out, out, in);
          back.send(from, new int[0], out);
        }
      }
      member.report(member.rank());
      exchange.close();
      return member.role() + " " + member.rank() + " " + member.generation() + " " + (int) sum;
    }
  }

  private static float first(TrainingBackend backend, Tensor tensor) {
    ByteBuffer bytes =
        ByteBuffer.allocateDirect((int) tensor.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    backend.read(bytes, tensor);
    return bytes.getFloat(0);
  }

  /** Attention members wait in a receive for what experts never send; experts sleep. */
  static String receiveFromExpert(MemberContext member) throws InterruptedException {
    try (TrainingBackend backend = Backends.cpu(new CpuOptions(1, 64L << 20));
        Tensor in = backend.allocate(DType.F32, Shape.of(1, 1))) {
      Exchange exchange = member.exchange(backend);
      if (member.role() == Role.EXPERT) {
        return waitForEver();
      }
      exchange.channel("combine").receive(member.attentionMembers(), in);
      return "received";
    }
  }

  /** Fails, but its last word comes only when the driver has heard of it from others. */
  static String abortAndFailWhenStopped(MemberContext member) {
    try (TrainingBackend backend = Backends.cpu(new CpuOptions(1, 64L << 20))) {
      member.exchange(backend).abort("rank 1 has bad input");
      while (!member.aborted()) {
        try {
          Thread.sleep(20);
        } catch (InterruptedException e) {
          // the driver stops this member
        }
      }
      throw new MixedGpuException(Fault.BAD_INPUT, "planted in rank 1");
    }
  }

  /** Waits until stopped. */
  static String waitForEver() throws InterruptedException {
    Thread.sleep(Long.MAX_VALUE);
    return "woke up";
  }
}
