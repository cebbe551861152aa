package org.mixedgpu.backend.cuda;

import com.sun.jna.Native;
import com.sun.jna.Pointer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
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

  /**
   * Writes the arguments; returns the address of the table.
   *
   * @param arguments Long, Integer, Float, {@link CudaTensor} (its address), byte[] (by value) or
   *     null (address 0)
   */
  long pack(Object... arguments) {
    Check.that(
        arguments.length <= MOST,
        "A launch has %d arguments; at most %d fit",
        arguments.length,
        MOST);
    int at = TABLE_BYTES;
    for (int i = 0; i < arguments.length; i++) {
      Object argument = arguments[i];
      if (argument instanceof byte[] bytes) {
        at = (at + TENSOR_MAP_ALIGNMENT - 1) & -TENSOR_MAP_ALIGNMENT;
        Check.that(
            at + bytes.length <= TABLE_BYTES + VALUE_BYTES,
            "The arguments of a launch are larger than %d bytes",
            VALUE_BYTES);
        memory.put(at, bytes);
        memory.putLong(i * Long.BYTES, address + at);
        at += (bytes.length + Long.BYTES - 1) & -Long.BYTES;
        continue;
      }
      if (argument instanceof CudaTensor tensor) {
        memory.putLong(at, tensor.pointer());
      } else if (argument instanceof Long number) {
        memory.putLong(at, number);
      } else if (argument instanceof Integer number) {
        memory.putInt(at, number);
      } else if (argument instanceof Float number) {
        memory.putFloat(at, number);
      } else {
        Check.that(argument == null, "Argument %d of a launch is %s", i, argument);
        memory.putLong(at, 0);
      }
      memory.putLong(i * Long.BYTES, address + at);
      at += Long.BYTES;
    }
    return address;
  }
}
