package org.mixedgpu.backend.cuda;

import com.sun.jna.Native;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import jcuda.Pointer;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Pinned host memory through which a stream's tensors are written and read: two halves, so that one
 * is copied on the host while the device copies the other. It grows to what is used, up to a bound.
 */
final class Staging {
  /** Large enough that a copy over the bus takes far longer than to start it. */
  private static final int MOST_HALF_BYTES = 16 << 20;

  private static final int LEAST_HALF_BYTES = 64 << 10;

  /** Pinned host memory, as the host and as the device see it. */
  private record Pinned(Pointer pointer, ByteBuffer memory, long address) {}

  private final CudaDevice device;
  private final CudaStream stream;
  private final CudaEvent[] busy = new CudaEvent[2];

  /**
   * For the device's fault record. A thread that waits for the stream reads it without the stream's
   * monitor, so it stays the same until the stream is closed.
   */
  private final Pinned faults;

  /** Used and replaced only by who holds the stream's monitor. */
  private Pinned halves;

  private int halfBytes;
  private int turn;

  Staging(CudaDevice device, CudaStream stream) {
    this.device = device;
    this.stream = stream;
    this.faults = allocate(CudaFaults.BYTES);
    clearFault();
    try {
      this.halves = allocate(2 * LEAST_HALF_BYTES);
    } catch (RuntimeException e) {
      JCudaDriver.cuMemFreeHost(faults.pointer);
      throw e;
    }
    this.halfBytes = LEAST_HALF_BYTES;
  }

  /**
   * Copies the buffer's remaining bytes to the device; when it returns, they may be overwritten.
   */
  void write(long to, ByteBuffer from) {
    fit(from.remaining());
    long target = to;
    while (from.hasRemaining()) {
      int bytes = Math.min(halfBytes, from.remaining());
      int half = next();
      halves.memory.put(start(half), from, from.position(), bytes);
      from.position(from.position() + bytes);
      device.check(
          DriverCalls.cuMemcpyHtoDAsync_v2(
              target, halves.address + start(half), bytes, stream.address()),
          "cuMemcpyHtoDAsync",
          stream);
      busy[half] = stream.record();
      target += bytes;
    }
  }

  /**
   * Fills the buffer's remaining bytes from the device; waits for all earlier work of the stream.
   */
  void read(ByteBuffer to, long from) {
    fit(to.remaining());
    int total = to.remaining();
    int parts = parts(total, halfBytes);
    // One part ahead: the device copies it while the one before is taken here.
    for (int part = 0; part <= parts; part++) {
      if (part < parts) {
        long offset = (long) part * halfBytes;
        device.check(
            DriverCalls.cuMemcpyDtoHAsync_v2(
                halves.address + start(part % 2),
                from + offset,
                length(part, total),
                stream.address()),
            "cuMemcpyDtoHAsync",
            stream);
        busy[part % 2] = stream.record();
      }
      if (part > 0) {
        int half = (part - 1) % 2;
        busy[half].synchronize();
        busy[half] = null;
        to.put(halves.memory.slice(start(half), length(part - 1, total)));
      }
    }
  }

  /** How many copies so many bytes take. */
  static int parts(int total, int halfBytes) {
    return (int) (((long) total + halfBytes - 1) / halfBytes);
  }

  private int length(int part, int total) {
    return (int) Math.min(halfBytes, total - (long) part * halfBytes);
  }

  /** Starts a copy of the device's fault record. */
  void fetchFaults(long from) {
    device.check(
        DriverCalls.cuMemcpyDtoHAsync_v2(faults.address, from, CudaFaults.BYTES, stream.address()),
        "cuMemcpyDtoHAsync",
        stream);
  }

  /** What {@link #fetchFaults} has brought. */
  int fault(int field) {
    return faults.memory.getInt(field * Integer.BYTES);
  }

  void clearFault() {
    faults.memory.putInt(0, 0);
  }

  /** The half whose turn it is, once the device is done with it. */
  private int next() {
    int half = turn;
    turn = 1 - turn;
    if (busy[half] != null) {
      busy[half].synchronize();
      busy[half] = null;
    }
    return half;
  }

  private int start(int half) {
    return half * halfBytes;
  }

  private void fit(int bytes) {
    if (bytes > 2 * halfBytes && halfBytes < MOST_HALF_BYTES) {
      int wanted = Math.min(MOST_HALF_BYTES, Integer.highestOneBit(bytes - 1));
      int half = Math.max(wanted, LEAST_HALF_BYTES);
      drain();
      Pinned old = halves;
      halves = allocate(2 * half);
      halfBytes = half;
      free(old);
    }
  }

  private Pinned allocate(int bytes) {
    Pointer fresh = new Pointer();
    int result = JCudaDriver.cuMemHostAlloc(fresh, bytes, JCudaDriver.CU_MEMHOSTALLOC_PORTABLE);
    if (result == CUresult.CUDA_ERROR_OUT_OF_MEMORY) {
      throw new MixedGpuException(
          Fault.EXHAUSTED,
          String.format(
              "cuMemHostAlloc: no %d bytes of pinned host memory for %s; give this machine or"
                  + " container more memory, or more that may be locked (ulimit -l)",
              bytes, device));
    }
    device.check(result, "cuMemHostAlloc", bytes + " bytes of pinned host memory");
    ByteBuffer memory = fresh.getByteBuffer(0, bytes).order(ByteOrder.LITTLE_ENDIAN);
    return new Pinned(
        fresh, memory, com.sun.jna.Pointer.nativeValue(Native.getDirectBufferPointer(memory)));
  }

  /** Waits until the device is done with both halves. */
  private void drain() {
    next();
    next();
    device.check(JCudaDriver.cuStreamSynchronize(stream.handle()), "cuStreamSynchronize", stream);
  }

  private void free(Pinned pinned) {
    device.check(JCudaDriver.cuMemFreeHost(pinned.pointer), "cuMemFreeHost", stream);
  }

  void close() {
    drain();
    free(halves);
    free(faults);
  }
}
