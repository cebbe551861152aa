package org.mixedgpu.nn.safetensors;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Optional;

/** Element types in safetensors files that are read here; all little-endian. */
public enum StoredType {
  F32(4),
  F16(2),
  BF16(2),
  I64(8),
  I32(4);

  private final int bytes;

  StoredType(int bytes) {
    this.bytes = bytes;
  }

  /** Size of one element in bytes. */
  public int bytes() {
    return bytes;
  }

  /** Whether the elements convert to and from F32. */
  public boolean isFloat() {
    return this == F32 || this == F16 || this == BF16;
  }

  static Optional<StoredType> named(String name) {
    for (StoredType type : values()) {
      if (type.name().equals(name)) {
        return Optional.of(type);
      }
    }
    return Optional.empty();
  }

  /** Converts all remaining elements of this type to F32. */
  void toFloats(ByteBuffer from, ByteBuffer into) {
    ByteBuffer in = from.order(ByteOrder.LITTLE_ENDIAN);
    ByteBuffer out = into.order(ByteOrder.LITTLE_ENDIAN);
    while (in.hasRemaining()) {
      switch (this) {
        case F32 -> out.putInt(in.getInt());
        case F16 -> out.putFloat(Halves.fromF16(in.getShort()));
        case BF16 -> out.putInt(in.getShort() << 16);
        case I64, I32 -> throw new IllegalStateException(this + " is not a float type");
      }
    }
  }

  /** Converts all remaining F32 elements to this type, rounding to nearest even. */
  void fromFloats(ByteBuffer from, ByteBuffer into) {
    ByteBuffer in = from.order(ByteOrder.LITTLE_ENDIAN);
    ByteBuffer out = into.order(ByteOrder.LITTLE_ENDIAN);
    while (in.hasRemaining()) {
      switch (this) {
        case F32 -> out.putInt(in.getInt());
        case F16 -> out.putShort(Halves.toF16(in.getFloat()));
        case BF16 -> out.putShort(Halves.toBf16(in.getFloat()));
        case I64, I32 -> throw new IllegalStateException(this + " is not a float type");
      }
    }
  }
}
