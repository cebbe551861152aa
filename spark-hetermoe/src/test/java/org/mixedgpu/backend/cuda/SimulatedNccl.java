package org.mixedgpu.backend.cuda;

import com.sun.jna.Pointer;
import com.sun.jna.ptr.IntByReference;
import com.sun.jna.ptr.PointerByReference;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;
import org.mixedgpu.backend.Backend;

/**
 * NCCL between threads of this process, over {@link SimulatedGpu}s: what a non-blocking
 * communicator returns when, what its kernels wait for, and what an abort ends. It knows no mercy:
 * a call on a communicator that is still busy fails, a message of another size than its receive is
 * a failure of the test, and kernels that wait in a circle wait for ever.
 */
public final class SimulatedNccl implements Nccl.Calls {
  private static final int INVALID_ARGUMENT = 4;
  private static final AtomicLong COUNT = new AtomicLong();
  private static final Executor DEVICE = Executors.newCachedThreadPool(SimulatedNccl::daemon);

  /** Whether an abort and a destruction return only when all peers have left, as processes do. */
  private final boolean processes;

  private final Map<String, Group> groups = new HashMap<>();
  private final Map<Long, Rank> ranks = new HashMap<>();

  /** Null outside of ncclGroupStart and ncclGroupEnd. */
  private final ThreadLocal<List<Op>> grouped = new ThreadLocal<>();

  private final List<String> crimes = new ArrayList<>();

  private int mostBlocks;
  private int earlyReceives;
  private int failure;

  /**
   * @param processes whether ranks behave as if each were a process of its own
   */
  public SimulatedNccl(boolean processes) {
    this.processes = processes;
  }

  private static final class Group {
    final Rank[] members;
    int joined;

    /** By {@code from → to}: who has called so far, which opens the way. */
    final Map<List<Integer>, boolean[]> ways = new HashMap<>();

    /** By {@code from → to}: sends and receives that were queued, but for those in groups. */
    final Map<List<Integer>, int[]> queued = new HashMap<>();

    /** By {@code from → to}: kernels that have started and wait for the other end. */
    final Map<List<Integer>, Deque<Op>> sends = new HashMap<>();

    final Map<List<Integer>, Deque<Op>> receives = new HashMap<>();
    final List<Op> sums = new ArrayList<>();

    Group(int size) {
      members = new Rank[size];
    }

    boolean isRunning(Op op) {
      return sums.contains(op)
          || sends.getOrDefault(op.way(), new ArrayDeque<>()).contains(op)
          || receives.getOrDefault(op.way(), new ArrayDeque<>()).contains(op);
    }
  }

  private static final class Rank {
    final Group group;
    final int index;
    int state = Nccl.IN_PROGRESS;
    boolean aborted;
    boolean left;

    /** What its own threads have failed with; 0 where they have not. */
    int failure;

    /** Queued and not ended. */
    final List<Op> open = new ArrayList<>();

    /** Kernels of a communicator follow each other. */
    CompletableFuture<Void> last = CompletableFuture.completedFuture(null);

    Rank(Group group, int index) {
      this.group = group;
      this.index = index;
    }
  }

  private enum Kind {
    SEND,
    RECEIVE,
    SUM
  }

  private record Op(
      Rank rank,
      Kind kind,
      long address,
      long bytes,
      int peer,
      long stream,
      CompletableFuture<Void> ended) {
    List<Integer> way() {
      return kind == Kind.SEND ? List.of(rank.index, peer) : List.of(peer, rank.index);
    }
  }

  /** As {@link NcclCommunicator#of}, for a simulated GPU. */
  public NcclCommunicator make(Backend backend, String name, int most, Duration limit) {
    synchronized (this) {
      mostBlocks = Math.max(mostBlocks, most);
    }
    return new NcclCommunicator(
        new Nccl(this, 22_800), SimulatedGpu.of(backend).nccl(), name, most, limit);
  }

  /** All later calls that queue a kernel return this. */
  public synchronized void failWith(int result) {
    failure = result;
  }

  /** What a rank's groups do in threads of their own has failed; no call comes back with that. */
  public synchronized void failBetweenCalls(int index, int result) {
    for (Rank rank : ranks.values()) {
      if (rank.index == index && !rank.left) {
        rank.failure = result;
      }
    }
  }

  /** The most that any group was told. */
  public synchronized int mostBlocks() {
    return mostBlocks;
  }

  /** How it was used as no real one allows. */
  public synchronized List<String> crimes() {
    return List.copyOf(crimes);
  }

  /** Receives that were queued before their sends. */
  public synchronized int earlyReceives() {
    return earlyReceives;
  }

  /** Kernels that wait for a peer or for others. */
  public synchronized int waiting() {
    return ranks.values().stream().mapToInt(rank -> rank.open.size()).sum();
  }

  @Override
  public int ncclGetVersion(IntByReference version) {
    version.setValue(22_800);
    return Nccl.SUCCESS;
  }

  @Override
  public int ncclGetUniqueId(byte[] id) {
    byte[] number = Long.toString(COUNT.incrementAndGet()).getBytes(StandardCharsets.US_ASCII);
    System.arraycopy(number, 0, id, 0, number.length);
    return Nccl.SUCCESS;
  }

  @Override
  public synchronized int ncclCommInitRankConfig(
      PointerByReference communicator, int size, UniqueId id, int index, Pointer config) {
    if (config.getInt(16) != 0) {
      crimes.add("a blocking communicator");
    }
    Group group = groups.computeIfAbsent(Arrays.toString(id.internal), key -> new Group(size));
    Rank rank = new Rank(group, index);
    group.members[index] = rank;
    group.joined++;
    if (group.joined == size) {
      for (Rank member : group.members) {
        member.state = Nccl.SUCCESS;
      }
    }
    long handle = COUNT.incrementAndGet();
    ranks.put(handle, rank);
    communicator.setValue(new Pointer(handle));
    return rank.state;
  }

  private Rank rank(Pointer communicator) {
    Rank rank = ranks.get(Pointer.nativeValue(communicator));
    if (rank == null || rank.left) {
      crimes.add("a call of a communicator that is gone");
      throw new IllegalStateException(crimes.toString());
    }
    return rank;
  }

  @Override
  public synchronized int ncclCommGetAsyncError(Pointer communicator, IntByReference error) {
    Rank rank = rank(communicator);
    error.setValue(rank.failure == Nccl.SUCCESS ? rank.state : rank.failure);
    return Nccl.SUCCESS;
  }

  @Override
  public int ncclSend(
      Pointer from, long count, int type, int peer, Pointer communicator, Pointer stream) {
    return call(Kind.SEND, from, count, peer, communicator, stream);
  }

  @Override
  public int ncclRecv(
      Pointer to, long count, int type, int peer, Pointer communicator, Pointer stream) {
    return call(Kind.RECEIVE, to, count, peer, communicator, stream);
  }

  @Override
  public int ncclAllReduce(
      Pointer from,
      Pointer to,
      long count,
      int type,
      int operation,
      Pointer communicator,
      Pointer stream) {
    return call(Kind.SUM, to, count * Float.BYTES, -1, communicator, stream);
  }

  @Override
  public int ncclGroupStart() {
    grouped.set(new ArrayList<>());
    return Nccl.SUCCESS;
  }

  @Override
  public synchronized int ncclGroupEnd() {
    List<Op> ops = grouped.get();
    grouped.remove();
    return ops.isEmpty() ? Nccl.SUCCESS : launchLater(ops);
  }

  private synchronized int call(
      Kind kind, Pointer at, long bytes, int peer, Pointer communicator, Pointer stream) {
    Rank rank = rank(communicator);
    if (failure != Nccl.SUCCESS) {
      return failure;
    }
    if (rank.state != Nccl.SUCCESS) {
      crimes.add("a call of a communicator that is busy");
      return INVALID_ARGUMENT;
    }
    Op op =
        new Op(
            rank,
            kind,
            Pointer.nativeValue(at),
            bytes,
            peer,
            Pointer.nativeValue(stream),
            new CompletableFuture<>());
    List<Op> group = grouped.get();
    if (group != null) {
      group.add(op);
      return Nccl.SUCCESS;
    }
    if (kind != Kind.SUM) {
      int[] count = rank.group.queued.computeIfAbsent(op.way(), way -> new int[2]);
      count[kind.ordinal()]++;
      if (count[Kind.RECEIVE.ordinal()] > count[Kind.SEND.ordinal()]) {
        earlyReceives++;
      }
    }
    return launchLater(List.of(op));
  }

  /** In NCCL's own thread, once the ways are open. */
  private int launchLater(List<Op> ops) {
    Rank rank = ops.get(0).rank;
    rank.state = Nccl.IN_PROGRESS;
    for (Op op : ops) {
      if (op.kind != Kind.SUM) {
        rank.group.ways.computeIfAbsent(op.way(), way -> new boolean[2])[op.kind.ordinal()] = true;
      }
    }
    DEVICE.execute(() -> launch(rank, ops));
    return Nccl.IN_PROGRESS;
  }

  private static Thread daemon(Runnable work) {
    Thread thread = new Thread(work, "simulated-nccl");
    thread.setDaemon(true);
    return thread;
  }

  private void launch(Rank rank, List<Op> ops) {
    CompletableFuture<Void> before;
    synchronized (this) {
      notifyAll();
      while (!rank.aborted && !ops.stream().allMatch(this::isOpen)) {
        awaitChange();
      }
      if (rank.aborted) {
        return;
      }
      CompletableFuture<Void> kernel =
          CompletableFuture.allOf(ops.stream().map(Op::ended).toArray(CompletableFuture<?>[]::new));
      before = CompletableFuture.allOf(rank.last, SimulatedGpu.append(ops.get(0).stream, kernel));
      rank.open.addAll(ops);
      rank.last = kernel;
      rank.state = Nccl.SUCCESS;
    }
    // In another thread: kernels that end one after the other must not nest.
    CompletableFuture<Void> unused = before.thenRunAsync(() -> ops.forEach(this::start), DEVICE);
  }

  private boolean isOpen(Op op) {
    if (op.kind == Kind.SUM) {
      return true;
    }
    boolean[] ends = op.rank.group.ways.get(op.way());
    return ends[0] && ends[1];
  }

  /** The kernel begins to run. */
  private void start(Op op) {
    List<Op> done = new ArrayList<>();
    synchronized (this) {
      if (op.rank.aborted) {
        done.add(op);
      } else if (op.kind == Kind.SUM) {
        sum(op, done);
      } else {
        move(op, done);
      }
    }
    end(done);
  }

  private void move(Op op, List<Op> done) {
    Group group = op.rank.group;
    Map<List<Integer>, Deque<Op>> others = op.kind == Kind.SEND ? group.receives : group.sends;
    Op other = others.getOrDefault(op.way(), new ArrayDeque<>()).poll();
    if (other == null) {
      (op.kind == Kind.SEND ? group.sends : group.receives)
          .computeIfAbsent(op.way(), way -> new ArrayDeque<>())
          .add(op);
      return;
    }
    Op from = op.kind == Kind.SEND ? op : other;
    Op to = op.kind == Kind.SEND ? other : op;
    if (from.bytes != to.bytes) {
      crimes.add("a message of " + from.bytes + " bytes was received as " + to.bytes);
    }
    long bytes = Math.min(from.bytes, to.bytes);
    byte[] copy = new Pointer(from.address).getByteArray(0, (int) bytes);
    new Pointer(to.address).write(0, copy, 0, copy.length);
    done.add(from);
    done.add(to);
  }

  private static void sum(Op op, List<Op> done) {
    List<Op> all = op.rank.group.sums;
    all.add(op);
    if (all.size() < op.rank.group.members.length) {
      return;
    }
    all.sort((a, b) -> a.rank.index - b.rank.index);
    int count = (int) (op.bytes / Float.BYTES);
    float[] total = new float[count];
    for (Op part : all) {
      float[] values = new Pointer(part.address).getFloatArray(0, count);
      for (int i = 0; i < count; i++) {
        total[i] += values[i];
      }
    }
    for (Op part : all) {
      new Pointer(part.address).write(0, total, 0, count);
    }
    done.addAll(all);
    all.clear();
  }

  /** Without the lock: whoever waits for an end goes on. */
  private void end(List<Op> ops) {
    synchronized (this) {
      ops.forEach(op -> op.rank.open.remove(op));
      notifyAll();
    }
    ops.forEach(op -> op.ended.complete(null));
  }

  @Override
  public synchronized int ncclCommFinalize(Pointer communicator) {
    Rank rank = rank(communicator);
    rank.state = Nccl.IN_PROGRESS;
    CompletableFuture<Void> unused =
        rank.last.thenRun(
            () -> {
              synchronized (this) {
                rank.state = Nccl.SUCCESS;
              }
            });
    return rank.state;
  }

  @Override
  public synchronized int ncclCommDestroy(Pointer communicator) {
    leave(rank(communicator));
    return Nccl.SUCCESS;
  }

  /** Kernels that wait for a peer end; those behind other work of their stream when they start. */
  @Override
  public int ncclCommAbort(Pointer communicator) {
    Rank rank;
    List<Op> running;
    synchronized (this) {
      rank = rank(communicator);
      rank.aborted = true;
      Group group = rank.group;
      running = rank.open.stream().filter(op -> group.isRunning(op)).toList();
      group.sends.values().forEach(queue -> queue.removeAll(running));
      group.receives.values().forEach(queue -> queue.removeAll(running));
      group.sums.removeAll(running);
      notifyAll();
    }
    end(running);
    synchronized (this) {
      while (!rank.open.isEmpty()) {
        awaitChange();
      }
      leave(rank);
    }
    return Nccl.SUCCESS;
  }

  private void leave(Rank rank) {
    rank.left = true;
    notifyAll();
    while (processes && rank.group.joined > 0 && !allLeft(rank.group)) {
      awaitChange();
    }
  }

  private static boolean allLeft(Group group) {
    return Arrays.stream(group.members).allMatch(member -> member == null || member.left);
  }

  private void awaitChange() {
    try {
      wait();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Override
  public String ncclGetErrorString(int result) {
    return "simulated error";
  }

  @Override
  public String ncclGetLastError(Pointer communicator) {
    return String.valueOf(crimes());
  }
}
