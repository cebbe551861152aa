package org.mixedgpu.backend.cuda;

import com.sun.jna.Native;
import com.sun.jna.Pointer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.mixedgpu.base.Check;

/**
 * Native memory in which a launch finds its arguments: a table of addresses, then the values. The
 * driver copies them before the launch returns, so one memory serves one launch after another.
 */
final class LaunchArguments {
  private static final int MOST = 48;
  private static final int TABLE_BYTES = MOST * Long.BYTES;

  /** Room for {@link #MOST} numbers, or for a few tensor maps of 128 bytes. */
  private static final int VALUE_BYTES = 2048;

  private static final int TENSOR_MAP_ALIGNMENT = 64;

  private final ByteBuffer memory =
      ByteBuffer.allocateDirect(TABLE_BYTES + VALUE_BYTES + TENSOR_MAP_ALIGNMENT)
          .alignedSlice(TENSOR_MAP_ALIGNMENT)
          .order(ByteOrder.nativeOrder());
  private final long address = Pointer.nativeValue(Native.getDirectBufferPointer(memory));

  /** Of the launch whose arguments are being written, for {@link #toString}. */
  private final char[] kinds = new char[MOST];

  private final CudaTensor[] tensors = new CudaTensor[MOST];
  private int count;
  private int end;

  /** The address of 8 bytes for a call that returns a number through a pointer. */
  long cell() {
    return address;
  }

  /** What such a call has returned. */
  long cellValue() {
    return memory.getLong(0);
  }

  /** The address of an F32 of this value, until the next use of this memory. */
  long single(float value) {
    memory.putFloat(0, value);
    return address;
  }

  /** Begins the arguments of a launch; nothing else may use this memory until it is queued. */
  LaunchArguments start() {
    count = 0;
    end = TABLE_BYTES;
    return this;
  }

  /**
   * The tensor's address.
   *
   * @param tensor null for address 0
   */
  LaunchArguments add(CudaTensor tensor) {
    memory.putLong(next(Long.BYTES, Long.BYTES), tensor == null ? 0 : tensor.pointer());
    return added('t', tensor);
  }

  /** An address or a 64-bit number. */
  LaunchArguments add(long number) {
    memory.putLong(next(Long.BYTES, Long.BYTES), number);
    return added('l', null);
  }

  LaunchArguments add(int number) {
    memory.putInt(next(Integer.BYTES, Long.BYTES), number);
    return added('i', null);
  }

  LaunchArguments add(float number) {
    memory.putFloat(next(Float.BYTES, Long.BYTES), number);
    return added('f', null);
  }

  /** A structure by value, such as a tensor map. */
  LaunchArguments add(byte[] structure) {
    memory.put(next(structure.length, TENSOR_MAP_ALIGNMENT), structure);
    return added('s', null);
  }

  /** Where the next argument lies; its place is noted in the table. */
  private int next(int bytes, int alignment) {
    int at = (end + alignment - 1) & -alignment;
    if (count == MOST || at + bytes > TABLE_BYTES + VALUE_BYTES) {
      throw Check.bug(
          "The arguments of a launch are more than %d or larger than %d bytes", MOST, VALUE_BYTES);
    }
    memory.putLong(count * Long.BYTES, address + at);
    end = at + bytes;
    return at;
  }

  private LaunchArguments added(char kind, CudaTensor tensor) {
    kinds[count] = kind;
    tensors[count] = tensor;
    count++;
    return this;
  }

  /** The address of the table. */
  long table() {
    return address;
  }

  /** For messages. */
  @Override
  public String toString() {
    List<Object> shown = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int at = (int) (memory.getLong(i * Long.BYTES) - address);
      shown.add(
          switch (kinds[i]) {
            case 'l' -> memory.getLong(at);
            case 'i' -> memory.getInt(at);
            case 'f' -> memory.getFloat(at);
            case 's' -> "a structure";
            default -> tensors[i];
          });
    }
    return shown.toString();
  }
}
