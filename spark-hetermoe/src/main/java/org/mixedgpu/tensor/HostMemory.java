package org.mixedgpu.tensor;

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

  private final MemoryAccount account;
  private final RootAllocator allocator;

  /**
   * @param name whose memory this is, for messages
   * @param limitBytes most bytes open at one time
   */
  public HostMemory(String name, long limitBytes) {
    this.account = new MemoryAccount(name, limitBytes);
    // The limit is enforced by the account, with a message of ours. Sizes are passed on as they
    // are: Arrow's own policy rounds up to powers of two, which would double the memory of many
    // weights.
    this.allocator = new RootAllocator(AllocationListener.NOOP, Long.MAX_VALUE, size -> size);
  }

  /** A zeroed tensor; the caller closes it. {@code EXHAUSTED} when over the limit. */
  public HostTensor allocate(DType type, Shape shape) {
    MemoryAccount.Entry entry = account.open(type, shape);
    ArrowBuf buffer;
    try {
      buffer = allocator.buffer(Math.max(entry.bytes(), 1) + ALIGNMENT);
    } catch (OutOfMemoryException | OutOfMemoryError e) {
      account.close(entry);
      throw new MixedGpuException(
          Fault.EXHAUSTED,
          String.format(
              "Cannot allocate %s (%d bytes) in %s: the JVM has no more direct memory (%s);"
                  + " raise -XX:MaxDirectMemorySize or lower the memory limit of %d bytes",
              entry.what(), entry.bytes(), account.name(), e.getMessage(), limitBytes()),
          e);
    }
    buffer.setZero(0, buffer.capacity());
    long address = (buffer.memoryAddress() + ALIGNMENT - 1) & -ALIGNMENT;
    Block block = new Block(buffer, address - buffer.memoryAddress(), entry.bytes());
    return new HostTensor(
        type,
        shape,
        block,
        0,
        () -> {
          block.close();
          if (account.close(entry)) {
            buffer.close();
          }
        });
  }

  /** Bytes allocated and not closed. */
  public long bytes() {
    return account.bytes();
  }

  /** The most bytes open at one time. */
  public long peakBytes() {
    return account.peakBytes();
  }

  public long limitBytes() {
    return account.limitBytes();
  }

  /** Tensors allocated and not closed. */
  public int tensors() {
    return account.tensors();
  }

  /** Frees everything. {@code BUG} with number, bytes and origin if tensors are still open. */
  @Override
  public void close() {
    // The memory of leaked tensors stays allocated: somebody may still use it, and a crash would
    // hide the message.
    if (account.close()) {
      allocator.close();
    }
  }
}
