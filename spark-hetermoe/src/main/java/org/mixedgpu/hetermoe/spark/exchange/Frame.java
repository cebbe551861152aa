package org.mixedgpu.hetermoe.spark.exchange;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.mixedgpu.tensor.DType;

/**
 * What precedes the rows of a message, and the messages without rows, as bytes. Both ends are of
 * one run and so of one version: there is no version field.
 */
final class Frame {
  /** First byte of messages without rows. */
  static final byte HELLO = 1;

  static final byte CREDIT = 2;
  static final byte ABORT = 3;
  static final byte BYE = 4;

  private static final DType[] TYPES = DType.values();

  private Frame() {}

  /** The description of a message's rows. */
  record Head(int from, String channel, int[] header, DType type, long rows, long rowElements) {
    int bytes() {
      return Math.toIntExact(rows * rowElements * type.bytes());
    }

    ByteBuffer encode() {
      byte[] name = channel.getBytes(StandardCharsets.UTF_8);
      ByteBuffer out = ByteBuffer.allocate(4 + 4 + name.length + 4 + 16 + 4 + 4 * header.length);
      out.putInt(from).putInt(name.length).put(name);
      out.putInt(type.ordinal()).putLong(rows).putLong(rowElements).putInt(header.length);
      for (int value : header) {
        out.putInt(value);
      }
      return out.flip();
    }

    static Head decode(ByteBuffer in) {
      int from = in.getInt();
      byte[] name = new byte[in.getInt()];
      in.get(name);
      DType type = TYPES[in.getInt()];
      long rows = in.getLong();
      long rowElements = in.getLong();
      int[] header = new int[in.getInt()];
      for (int i = 0; i < header.length; i++) {
        header[i] = in.getInt();
      }
      return new Head(
          from, new String(name, StandardCharsets.UTF_8), header, type, rows, rowElements);
    }
  }

  static ByteBuffer hello(int rank) {
    return ByteBuffer.allocate(5).put(HELLO).putInt(rank).flip();
  }

  static ByteBuffer credit(long bytes) {
    return ByteBuffer.allocate(9).put(CREDIT).putLong(bytes).flip();
  }

  static ByteBuffer bye() {
    return ByteBuffer.allocate(1).put(BYE).flip();
  }

  static ByteBuffer abort(String reason) {
    byte[] text = reason.getBytes(StandardCharsets.UTF_8);
    return ByteBuffer.allocate(1 + text.length).put(ABORT).put(text).flip();
  }
}
