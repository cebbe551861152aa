package org.mixedgpu.tensor;

import java.util.Comparator;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.arrow.memory.AllocationListener;
import org.apache.arrow.memory.ArrowBuf;
import org.apache.arrow.memory.OutOfMemoryException;
import org.apache.arrow.memory.RootAllocator;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Tensors in host memory outside the Java heap, up to a limit in bytes. The bytes counted are those
 * that tensors asked for; the allocator below may round up. Any thread may allocate and close.
 */
public final class HostMemory implements AutoCloseable {
  /** Start of a tensor's memory: a cache line, and the widest vector register. */
  private static final int ALIGNMENT = 64;

  private static final StackWalker WALKER = StackWalker.getInstance();

  private final String name;
  private final long limitBytes;
  private final RootAllocator allocator;
  private final Set<Allocation> open = ConcurrentHashMap.newKeySet();
  private long bytes;
  private long peakBytes;
  private long allocations;
  private boolean closed;

  /**
   * @param name whose memory this is, for messages
   * @param limitBytes most bytes open at one time
   */
  public HostMemory(String name, long limitBytes) {
    this.name = name;
    this.limitBytes = limitBytes;
    // The limit is enforced here, with a message of ours. Sizes are passed on as they are: Arrow's
    // own policy rounds up to powers of two, which would double the memory of many weights.
    this.allocator = new RootAllocator(AllocationListener.NOOP, Long.MAX_VALUE, size -> size);
  }

  /** A zeroed tensor; the caller closes it. {@code EXHAUSTED} when over the limit. */
  public HostTensor allocate(DType type, Shape shape) {
    long size = Math.multiplyExact(shape.elements(), type.bytes());
    Allocation allocation;
    synchronized (this) {
      if (closed) {
        throw new MixedGpuException(
            Fault.BUG, "Cannot allocate " + type + shape + ": " + name + " is closed");
      }
      if (size > limitBytes - bytes) {
        throw new MixedGpuException(
            Fault.EXHAUSTED,
            String.format(
                "Cannot allocate %s%s (%d bytes) in %s: %d of %d bytes are in use by %d tensors;"
                    + " raise the memory limit or use smaller batches",
                type, shape, size, name, bytes, limitBytes, open.size()));
      }
      bytes += size;
      peakBytes = Math.max(peakBytes, bytes);
      allocation = new Allocation(++allocations, size, type + shape.toString(), origin());
      open.add(allocation);
    }
    try {
      allocation.buffer = allocator.buffer(Math.max(size, 1) + ALIGNMENT);
    } catch (OutOfMemoryException | OutOfMemoryError e) {
      released(allocation);
      throw new MixedGpuException(
          Fault.EXHAUSTED,
          String.format(
              "Cannot allocate %s%s (%d bytes) in %s: the JVM has no more direct memory (%s);"
                  + " raise -XX:MaxDirectMemorySize or lower the memory limit of %d bytes",
              type, shape, size, name, e.getMessage(), limitBytes),
          e);
    }
    ArrowBuf buffer = allocation.buffer;
    buffer.setZero(0, buffer.capacity());
    long address = (buffer.memoryAddress() + ALIGNMENT - 1) & -ALIGNMENT;
    Block block = new Block(buffer, address - buffer.memoryAddress(), size);
    return new HostTensor(type, shape, block, 0, () -> release(allocation, block));
  }

  /** Bytes allocated and not closed. */
  public synchronized long bytes() {
    return bytes;
  }

  /** The most bytes open at one time. */
  public synchronized long peakBytes() {
    return peakBytes;
  }

  public long limitBytes() {
    return limitBytes;
  }

  /** Tensors allocated and not closed. */
  public int tensors() {
    return open.size();
  }

  private void release(Allocation allocation, Block block) {
    block.close();
    if (released(allocation)) {
      allocation.buffer.close();
    }
  }

  private synchronized boolean released(Allocation allocation) {
    if (!open.remove(allocation)) {
      return false;
    }
    bytes -= allocation.bytes;
    return true;
  }

  /** Who asked: the first caller that is not itself an {@code allocate}, on behalf of others. */
  private static StackWalker.StackFrame origin() {
    return WALKER.walk(
        frames ->
            frames
                .filter(
                    frame ->
                        !frame.getMethodName().equals("allocate")
                            && !frame.getClassName().equals(HostMemory.class.getName()))
                .findFirst()
                .orElse(null));
  }

  /** Frees everything. {@code BUG} with number, bytes and origin if tensors are still open. */
  @Override
  public void close() {
    MixedGpuException leak = null;
    synchronized (this) {
      if (closed) {
        return;
      }
      closed = true;
      Allocation first = open.stream().min(Comparator.comparingLong(a -> a.order)).orElse(null);
      if (first != null) {
        leak =
            new MixedGpuException(
                Fault.BUG,
                String.format(
                    "%s is closed with %d tensors still open, %d bytes; the first is %s, allocated"
                        + " at %s; close it before the backend",
                    name, open.size(), bytes, first.what, first.origin));
      }
    }
    // The memory of leaked tensors stays allocated: somebody may still use it, and a crash would
    // hide the message.
    if (leak != null) {
      throw leak;
    }
    allocator.close();
  }

  private static final class Allocation {
    private final long order;
    private final long bytes;
    private final String what;
    private final StackWalker.StackFrame origin;
    private ArrowBuf buffer;

    Allocation(long order, long bytes, String what, StackWalker.StackFrame origin) {
      this.order = order;
      this.bytes = bytes;
      this.what = what;
      this.origin = origin;
    }
  }
}
