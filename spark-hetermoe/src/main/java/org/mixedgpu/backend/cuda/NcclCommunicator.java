package org.mixedgpu.backend.cuda;

import com.sun.jna.Memory;
import com.sun.jna.Pointer;
import com.sun.jna.ptr.IntByReference;
import com.sun.jna.ptr.PointerByReference;
import java.time.Duration;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.ToIntFunction;
import org.mixedgpu.backend.Backend;
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
 * same order. One thread at a time; {@link #abort} by any.
 *
 * <p>The calls never block inside NCCL (its communicators are opened non-blocking), so that a peer
 * that died can't keep this process: {@link #abort} ends what waits, here and on the device. What
 * was written by then is undefined.
 */
public final class NcclCommunicator implements AutoCloseable {
  private static final long LOOK_NANOS = 20_000;

  private final Nccl nccl;
  private final CudaBackend backend;
  private final String name;
  private final int rank;
  private final Duration limit;
  private final ReentrantLock lock = new ReentrantLock();

  /** Null when aborted or closed: NCCL has freed it then. */
  private Pointer handle;

  private volatile String aborted;

  private NcclCommunicator(Nccl nccl, CudaBackend backend, String name, int rank, Duration limit) {
    this.nccl = nccl;
    this.backend = backend;
    this.name = name;
    this.rank = rank;
    this.limit = limit;
  }

  /** NCCL's version in this process, such as 22800; {@code MISSING} where there is none. */
  public static int version() {
    return Nccl.open().version();
  }

  /** The name of a new group, which all its ranks must be told. */
  public static byte[] newId() {
    Nccl nccl = Nccl.open();
    byte[] id = new byte[Nccl.ID_BYTES];
    nccl.check(nccl.calls().ncclGetUniqueId(id), "ncclGetUniqueId", "for a new group");
    return id;
  }

  /**
   * The GPU of a backend, the same in all processes: its PCI bus id. Only a CUDA backend, emulated
   * or not, has one.
   */
  public static String busId(Backend backend) {
    return cuda(backend).device().busId();
  }

  /**
   * Joins a group; returns when all ranks have. The caller closes it, before the backend.
   *
   * @param name for messages, such as {@code dispatch}
   * @param id of {@link #newId}, the same on all ranks
   * @param limit how long anything may take
   */
  public static NcclCommunicator join(
      Backend backend, String name, byte[] id, int ranks, int rank, Duration limit) {
    Check.input(
        id.length == Nccl.ID_BYTES,
        "The id of an NCCL group has %d bytes; found %d",
        Nccl.ID_BYTES,
        id.length);
    NcclCommunicator joined = new NcclCommunicator(Nccl.open(), cuda(backend), name, rank, limit);
    joined.init(id, ranks);
    return joined;
  }

  private static CudaBackend cuda(Backend backend) {
    Backend device = backend instanceof EmulatedBackend emulated ? emulated.inner() : backend;
    if (device instanceof CudaBackend cuda) {
      return cuda;
    }
    throw new MixedGpuException(
        Fault.BAD_INPUT, "NCCL moves tensors of GPUs; the backend is " + backend.name());
  }

  private void init(byte[] id, int ranks) {
    backend.device().makeCurrent();
    Nccl.Calls.UniqueId name = new Nccl.Calls.UniqueId();
    name.internal = id.clone();
    PointerByReference found = new PointerByReference();
    String call = "ncclCommInitRankConfig of " + ranks + " ranks";
    try (Memory config = Nccl.nonBlocking()) {
      int result = nccl.calls().ncclCommInitRankConfig(found, ranks, name, rank, config);
      handle = found.getValue();
      nccl.check(result, call, toString());
      settle(call);
    } catch (RuntimeException e) {
      abort(e.getMessage());
      throw e;
    }
  }

  /** Queues the sending of a tensor of any type and shape. */
  public void send(int peer, Tensor rows) {
    backend.queue(
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
    backend.queue(
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
    backend.queue(
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
    settle(call);
  }

  private Pointer open(String call) {
    if (handle == null) {
      throw new MixedGpuException(
          Fault.MISSING,
          call + " came too late: " + this + " " + (aborted == null ? "is closed" : aborted));
    }
    return handle;
  }

  /** Waits until NCCL has done what the call started, such as connecting to a peer. */
  void settle(String call) {
    long deadline = System.nanoTime() + limit.toNanos();
    IntByReference state = new IntByReference();
    while (true) {
      lock.lock();
      try {
        nccl.check(
            nccl.calls().ncclCommGetAsyncError(open(call), state), "ncclCommGetAsyncError", call);
      } finally {
        lock.unlock();
      }
      if (state.getValue() != Nccl.IN_PROGRESS) {
        nccl.check(state.getValue(), call, toString());
        return;
      }
      if (System.nanoTime() > deadline) {
        throw new MixedGpuException(
            Fault.EXHAUSTED,
            call
                + " did not get on within "
                + limit.toMillis()
                + " ms: "
                + this
                + "; see what its peers do, or raise the time limit of the exchange");
      }
      LockSupport.parkNanos(LOOK_NANOS);
    }
  }

  /** Ends everything that waits for a peer, on the device too. Idempotent. */
  public void abort(String reason) {
    aborted = "was aborted: " + reason;
    lock.lock();
    try {
      if (handle != null) {
        backend.device().makeCurrent();
        Pointer ended = handle;
        handle = null;
        nccl.check(nccl.calls().ncclCommAbort(ended), "ncclCommAbort", toString());
      }
    } finally {
      lock.unlock();
    }
  }

  /** Ends the group; all its work is done on all ranks. */
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
    backend.device().makeCurrent();
    run("ncclCommFinalize", nccl.calls()::ncclCommFinalize);
    lock.lock();
    try {
      Pointer ended = open("ncclCommDestroy");
      handle = null;
      nccl.check(nccl.calls().ncclCommDestroy(ended), "ncclCommDestroy", toString());
    } finally {
      lock.unlock();
    }
  }

  @Override
  public String toString() {
    return "NCCL group " + name + ", rank " + rank + " on " + backend.device();
  }
}
