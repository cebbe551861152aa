package org.mixedgpu.backend.cuda;

import com.sun.jna.Memory;
import com.sun.jna.Pointer;
import com.sun.jna.ptr.IntByReference;
import com.sun.jna.ptr.PointerByReference;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.ToIntFunction;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Event;
import org.mixedgpu.backend.emulated.EmulatedBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Tensor;

/**
 * This process's end of a group of GPUs that send each other tensors through NCCL, without the
 * host's memory. Calls are queued on the calling thread's stream and return; a send and its receive
 * take place when both ends have reached them, so both ends must queue the same messages in the
 * same order, and a rank that both sends and receives can wait in a circle. One thread at a time;
 * {@link #check} and {@link #abort} by any.
 *
 * <p>The calls never block inside NCCL (its communicators are opened non-blocking), so that a peer
 * that died can't keep this process: {@link #abort} ends what waits, here and on the device. What
 * was written by then is undefined.
 */
public final class NcclCommunicator implements AutoCloseable {
  /** NCCL launches within this time, unless it connects or the GPU's queue is full. */
  private static final long SPIN_NANOS = 200_000;

  private static final long LOOK_NANOS = 20_000;

  private final Nccl nccl;
  private final NcclDevice device;
  private final String name;
  private final int blocks;
  private final Duration limit;
  private final ReentrantLock lock = new ReentrantLock();

  /** With the lock. */
  private final IntByReference state = new IntByReference();

  private int rank = -1;

  /** Null before the group is joined, and when aborted or closed: NCCL has freed it then. */
  private Pointer handle;

  /** Multiprocessors that are left to this group. */
  private int left;

  /** Why there is no handle any more. */
  private String ended;

  NcclCommunicator(Nccl nccl, NcclDevice device, String name, int blocks, Duration limit) {
    this.nccl = nccl;
    this.device = device;
    this.name = name;
    this.blocks = blocks;
    this.limit = limit;
  }

  /** NCCL's version in this process, such as 22800; {@code MISSING} where there is none. */
  public static int version() {
    return Nccl.open().version();
  }

  /**
   * The GPU of a backend, the same in all processes: its PCI bus id. Only a CUDA backend, emulated
   * or not, has one.
   */
  public static String busId(Backend backend) {
    return cuda(backend).device().busId();
  }

  /**
   * A rank of a group that is still to be {@linkplain #join joined}. The caller closes it, before
   * the backend.
   *
   * @param name for messages, such as {@code dispatch}
   * @param blocks of a message on the GPU, each on a multiprocessor that other work does without
   *     meanwhile; twice as many from 16 MiB a block on; 0 leaves it to NCCL
   * @param limit how long anything may take
   */
  public static NcclCommunicator of(Backend backend, String name, int blocks, Duration limit) {
    return new NcclCommunicator(Nccl.open(), cuda(backend).nccl(), name, blocks, limit);
  }

  private static CudaBackend cuda(Backend backend) {
    Backend device = backend instanceof EmulatedBackend emulated ? emulated.inner() : backend;
    if (device instanceof CudaBackend cuda) {
      return cuda;
    }
    throw new MixedGpuException(
        Fault.BAD_INPUT, "NCCL moves tensors of GPUs; the backend is " + backend.name());
  }

  /** The id of a new group, which all its ranks must be told. */
  public byte[] newId() {
    byte[] id = new byte[Nccl.ID_BYTES];
    nccl.check(nccl.calls().ncclGetUniqueId(id), "ncclGetUniqueId", "for group " + name);
    return id;
  }

  /**
   * Joins the group; returns when all ranks have. After a failure, of this or of any other call,
   * the group can only be aborted.
   *
   * @param id of {@link #newId}, the same on all ranks
   */
  public void join(byte[] id, int ranks, int self) {
    Check.input(
        id.length == Nccl.ID_BYTES,
        "The id of an NCCL group has %d bytes; found %d",
        Nccl.ID_BYTES,
        id.length);
    Check.that(rank < 0, "%s has joined already", this);
    rank = self;
    device.makeCurrent();
    String call = "ncclCommInitRankConfig of " + ranks + " ranks";
    Nccl.Calls.UniqueId named = new Nccl.Calls.UniqueId();
    named.internal = id.clone();
    lock.lock();
    // NCCL keeps blocks for messages with all ranks at once, and gives one its part.
    try (Memory config = Nccl.nonBlocking(blocks * ranks)) {
      if (ended != null) {
        throw tooLate(call);
      }
      PointerByReference found = new PointerByReference();
      int result = nccl.calls().ncclCommInitRankConfig(found, ranks, named, rank, config);
      handle = found.getValue();
      nccl.check(result, call, toString());
    } finally {
      lock.unlock();
    }
    settle(call);
    lock.lock();
    try {
      // While the group lasts, other work does without the multiprocessors of a message.
      left = handle == null ? 0 : blocks;
      device.leave(left);
    } finally {
      lock.unlock();
    }
  }

  /** The handle, which nobody else uses from now on; with the lock. */
  private Pointer take() {
    Pointer taken = handle;
    handle = null;
    device.leave(-left);
    left = 0;
    return taken;
  }

  /**
   * Opens the ways of later messages, which NCCL otherwise does when the first is queued and both
   * ends are there. Collective among these ranks.
   *
   * @param to ranks that this one will send to
   * @param from ranks that this one will receive from
   * @param spare two elements, which may be overwritten
   */
  public void connect(int[] to, int[] from, Tensor spare) {
    if (to.length + from.length == 0) {
      return;
    }
    int bytes = spare.type().bytes();
    device.queue(
        spare,
        (address, stream) ->
            run(
                "connecting to ranks " + Arrays.toString(to) + " and from " + Arrays.toString(from),
                group -> {
                  Nccl.Calls calls = nccl.calls();
                  Pointer first = new Pointer(address);
                  Pointer second = new Pointer(address + bytes);
                  Pointer on = new Pointer(stream);
                  calls.ncclGroupStart();
                  int failed = Nccl.SUCCESS;
                  for (int peer : to) {
                    int result = calls.ncclSend(first, bytes, Nccl.BYTES, peer, group, on);
                    failed = failed == Nccl.SUCCESS ? result : failed;
                  }
                  for (int peer : from) {
                    int result = calls.ncclRecv(second, bytes, Nccl.BYTES, peer, group, on);
                    failed = failed == Nccl.SUCCESS ? result : failed;
                  }
                  // Also after a failure: a group of calls that was begun must be ended.
                  int result = calls.ncclGroupEnd();
                  return failed == Nccl.SUCCESS ? result : failed;
                }));
  }

  /**
   * Queues the sending of a tensor of any type and shape.
   *
   * @return the point at which the tensor is ready to be sent
   */
  public Event send(int peer, Tensor rows) {
    return device.queue(
        rows,
        (address, stream) ->
            run(
                "ncclSend of " + rows.bytes() + " bytes to rank " + peer,
                to ->
                    nccl.calls()
                        .ncclSend(
                            new Pointer(address),
                            rows.bytes(),
                            Nccl.BYTES,
                            peer,
                            to,
                            new Pointer(stream))));
  }

  /** Queues the receiving of exactly as many bytes. */
  public void receive(int peer, Tensor into) {
    device.queue(
        into,
        (address, stream) ->
            run(
                "ncclRecv of " + into.bytes() + " bytes from rank " + peer,
                from ->
                    nccl.calls()
                        .ncclRecv(
                            new Pointer(address),
                            into.bytes(),
                            Nccl.BYTES,
                            peer,
                            from,
                            new Pointer(stream))));
  }

  /**
   * Queues the replacement of an F32 tensor by its sum over all ranks; they all get the same bits.
   */
  public void sum(Tensor values) {
    Check.input(values.type() == DType.F32, "NCCL sums F32 tensors here; found %s", values.type());
    long elements = values.shape().elements();
    device.queue(
        values,
        (address, stream) ->
            run(
                "ncclAllReduce of " + elements + " floats",
                all ->
                    nccl.calls()
                        .ncclAllReduce(
                            new Pointer(address),
                            new Pointer(address),
                            elements,
                            Nccl.FLOAT32,
                            Nccl.SUM,
                            all,
                            new Pointer(stream))));
  }

  private void run(String call, ToIntFunction<Pointer> work) {
    lock.lock();
    try {
      nccl.check(work.applyAsInt(open(call)), call, toString());
    } finally {
      lock.unlock();
    }
    // NCCL launches in a thread of its own: what the caller queues next must come after that.
    settle(call);
  }

  private Pointer open(String call) {
    if (handle == null) {
      throw tooLate(call);
    }
    return handle;
  }

  private MixedGpuException tooLate(String call) {
    return new MixedGpuException(
        Fault.MISSING,
        call + " can't be done: " + this + " " + (ended == null ? "is not joined" : ended));
  }

  /** Waits until NCCL has done what the call started, such as connecting to a peer. */
  void settle(String call) {
    long start = System.nanoTime();
    while (true) {
      int now;
      lock.lock();
      try {
        nccl.check(
            nccl.calls().ncclCommGetAsyncError(open(call), state), "ncclCommGetAsyncError", call);
        now = state.getValue();
      } finally {
        lock.unlock();
      }
      if (now != Nccl.IN_PROGRESS) {
        nccl.check(now, call, toString());
        return;
      }
      long waited = System.nanoTime() - start;
      if (waited > limit.toNanos()) {
        throw new MixedGpuException(
            Fault.EXHAUSTED,
            call
                + " did not get on within "
                + limit.toMillis()
                + " ms: "
                + this
                + "; see what its peers do, or raise the time limit of the exchange");
      }
      if (waited < SPIN_NANOS) {
        Thread.onSpinWait();
      } else {
        LockSupport.parkNanos(LOOK_NANOS);
      }
    }
  }

  /**
   * Throws what has failed in NCCL's own threads, where it has: no call need come back with that,
   * as when a connection is lost while messages wait on the device. Does not wait; any thread may
   * ask at any time.
   */
  public void check() {
    lock.lock();
    try {
      if (handle == null) {
        return;
      }
      device.makeCurrent();
      nccl.check(
          nccl.calls().ncclCommGetAsyncError(handle, state), "ncclCommGetAsyncError", toString());
      nccl.check(state.getValue(), "NCCL's own work", toString());
    } finally {
      lock.unlock();
    }
  }

  /**
   * Ends everything that waits for a peer, on the device too, at once. Idempotent. Returns when
   * NCCL has freed the group, which it does only when this host's other processes have left the
   * group too, and its work on the device has ended, which may wait for other groups' work: where a
   * peer hangs, never. So a thread of its own should call this, and groups be aborted side by side.
   */
  public void abort(String reason) {
    Pointer taken;
    lock.lock();
    try {
      if (ended == null) {
        ended = "was aborted: " + reason;
      }
      taken = take();
    } finally {
      lock.unlock();
    }
    if (taken != null) {
      device.makeCurrent();
      nccl.check(nccl.calls().ncclCommAbort(taken), "ncclCommAbort", toString());
    }
  }

  /**
   * Leaves the group when its work is done, and returns when this host's other processes have left
   * it too. All ranks do so, within the time limit of each other.
   */
  @Override
  public void close() {
    lock.lock();
    try {
      if (handle == null) {
        return;
      }
    } finally {
      lock.unlock();
    }
    device.makeCurrent();
    run("ncclCommFinalize", nccl.calls()::ncclCommFinalize);
    Pointer taken;
    lock.lock();
    try {
      open("ncclCommDestroy");
      taken = take();
      ended = "is closed";
    } finally {
      lock.unlock();
    }
    nccl.check(nccl.calls().ncclCommDestroy(taken), "ncclCommDestroy", toString());
  }

  @Override
  public String toString() {
    return "NCCL group " + name + (rank < 0 ? "" : ", rank " + rank) + " on " + device;
  }
}
