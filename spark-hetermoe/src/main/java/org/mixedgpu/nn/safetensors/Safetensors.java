package org.mixedgpu.nn.safetensors;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Collections;
import java.util.Map;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.RangeReader;

/**
 * Reads a safetensors file: 8 bytes little-endian length of the header, the header, the tensors.
 * Only the header is held in memory; tensors are read in pieces into the caller's buffers. A file
 * whose header contradicts itself or the file's size is {@code CORRUPT}; the contents of tensors
 * carry no checksum in this format. Several threads may read.
 */
public final class Safetensors implements AutoCloseable {
  /** The limit of the reference implementation. */
  private static final long MAX_HEADER_BYTES = 100_000_000;

  /** Bytes converted at a time. */
  private static final int CHUNK_BYTES = 1 << 20;

  private final RangeReader file;
  private final Header header;

  private Safetensors(RangeReader file, Header header) {
    this.file = file;
    this.header = header;
  }

  /** Opens a file and checks its header. The caller closes it. */
  public static Safetensors open(FileStore files, String path) {
    RangeReader file = files.open(path);
    try {
      return new Safetensors(file, readHeader(file));
    } catch (RuntimeException e) {
      try {
        file.close();
      } catch (RuntimeException alsoFailed) {
        e.addSuppressed(alsoFailed);
      }
      throw e;
    }
  }

  private static Header readHeader(RangeReader file) {
    Check.intact(
        file.size() >= 8,
        "%s has %d bytes; a safetensors file has at least 8",
        file.path(),
        file.size());
    ByteBuffer length = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    file.readFully(0, length);
    long headerBytes = length.flip().getLong();
    Check.intact(
        headerBytes >= 2 && headerBytes <= file.size() - 8 && headerBytes <= MAX_HEADER_BYTES,
        "%s: its first 8 bytes say that its header has %d bytes; expected 2 to %d",
        file.path(),
        headerBytes,
        Math.min(file.size() - 8, MAX_HEADER_BYTES));
    ByteBuffer json = ByteBuffer.allocate((int) headerBytes);
    file.readFully(8, json);
    return Header.parse(json.array(), file.path(), 8 + headerBytes, file.size());
  }

  public String path() {
    return file.path();
  }

  /** All tensors by name, in the order of their bytes. */
  public Map<String, TensorEntry> entries() {
    return Collections.unmodifiableMap(header.entries());
  }

  public Map<String, String> metadata() {
    return Collections.unmodifiableMap(header.metadata());
  }

  /** The tensor of this name; {@code MISSING} where there is none. */
  public TensorEntry entry(String name) {
    TensorEntry entry = header.entries().get(name);
    if (entry == null) {
      throw new MixedGpuException(
          Fault.MISSING,
          path() + " has no tensor " + name + "; it has " + header.entries().keySet());
    }
    return entry;
  }

  /** Fills the buffer with bytes of a tensor, as stored, from one of its bytes on. */
  public void readBytes(TensorEntry entry, long firstByte, ByteBuffer into) {
    Check.input(
        firstByte >= 0 && firstByte <= entry.bytes() - into.remaining(),
        "Cannot read %d bytes from byte %d of tensor %s, which has %d",
        into.remaining(),
        firstByte,
        entry.name(),
        entry.bytes());
    file.readFully(entry.offset() + firstByte, into);
  }

  /**
   * Fills the buffer with elements of a tensor of any float type, from one of its elements on, as
   * little-endian F32.
   */
  public void readFloats(TensorEntry entry, long firstElement, ByteBuffer into) {
    checkFloat(entry);
    if (entry.type() == StoredType.F32) {
      readBytes(entry, firstElement * Float.BYTES, into);
      return;
    }
    int size = entry.type().bytes();
    long at = firstElement;
    ByteBuffer stored =
        ByteBuffer.allocate(Math.min(CHUNK_BYTES, into.remaining() / Float.BYTES * size));
    while (into.hasRemaining()) {
      stored.clear().limit(Math.min(stored.capacity(), into.remaining() / Float.BYTES * size));
      readBytes(entry, at * size, stored);
      at += stored.flip().remaining() / size;
      entry.type().toFloats(stored, into);
    }
  }

  /** A whole small tensor of any float type. */
  public float[] floats(String name) {
    TensorEntry entry = entry(name);
    float[] values = new float[arraySize(entry)];
    ByteBuffer bytes = ByteBuffer.allocate(Math.multiplyExact(values.length, Float.BYTES));
    readFloats(entry, 0, bytes);
    bytes.flip().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values);
    return values;
  }

  /** A whole small tensor of I32 or I64, whose values must fit an int. */
  public int[] ints(String name) {
    TensorEntry entry = entry(name);
    Check.input(
        !entry.type().isFloat(), "%s: tensor %s has floats (%s)", path(), name, entry.type());
    int[] values = new int[arraySize(entry)];
    ByteBuffer bytes = ByteBuffer.allocate(Math.toIntExact(entry.bytes()));
    readBytes(entry, 0, bytes);
    bytes.flip().order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < values.length; i++) {
      long value = entry.type() == StoredType.I64 ? bytes.getLong() : bytes.getInt();
      Check.intact(
          value == (int) value, "%s: element %d of %s is %d, no int", path(), i, name, value);
      values[i] = (int) value;
    }
    return values;
  }

  private int arraySize(TensorEntry entry) {
    Check.input(
        entry.bytes() <= 1L << 30,
        "%s: tensor %s has %d bytes, too many for an array",
        path(),
        entry.name(),
        entry.bytes());
    return (int) entry.shape().elements();
  }

  private void checkFloat(TensorEntry entry) {
    Check.input(
        entry.type().isFloat(),
        "%s: tensor %s has the type %s; expected F32, F16 or BF16",
        path(),
        entry.name(),
        entry.type());
  }

  @Override
  public void close() {
    file.close();
  }
}
