package org.mixedgpu.nn.safetensors;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.NewFile;
import org.mixedgpu.tensor.Shape;

/**
 * Writes a safetensors file: the tensors are announced first, then their bytes follow in the same
 * order, in pieces of any size. Invisible until {@link #publish}. One thread at a time.
 */
public final class SafetensorsWriter implements AutoCloseable {
  private static final int ALIGNMENT = 8;
  private static final int CHUNK_BYTES = 1 << 20;

  /** A tensor to be written. */
  public record Announced(String name, StoredType type, Shape shape) {
    public long bytes() {
      return Math.multiplyExact(shape.elements(), type.bytes());
    }
  }

  private final NewFile file;
  private final List<Announced> tensors;
  private int current;
  private long writtenOfCurrent;

  private SafetensorsWriter(NewFile file, List<Announced> tensors) {
    this.file = file;
    this.tensors = tensors;
  }

  /**
   * Starts a file. transformers refuses files whose metadata lack {@code format=pt}. The caller
   * closes it.
   */
  public static SafetensorsWriter create(
      FileStore files, String path, List<Announced> tensors, Map<String, String> metadata) {
    byte[] header = header(tensors, metadata);
    NewFile file = files.create(path);
    try {
      ByteBuffer length = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
      file.write(length.putLong(header.length).flip());
      file.write(ByteBuffer.wrap(header));
      SafetensorsWriter writer = new SafetensorsWriter(file, List.copyOf(tensors));
      writer.skipEmpty();
      return writer;
    } catch (RuntimeException e) {
      try {
        file.close();
      } catch (RuntimeException alsoFailed) {
        e.addSuppressed(alsoFailed);
      }
      throw e;
    }
  }

  private static byte[] header(List<Announced> tensors, Map<String, String> metadata) {
    ObjectMapper json = new ObjectMapper();
    ObjectNode root = json.createObjectNode();
    if (!metadata.isEmpty()) {
      ObjectNode node = root.putObject(Header.METADATA);
      metadata.forEach(node::put);
    }
    Set<String> names = new LinkedHashSet<>();
    names.add(Header.METADATA);
    long offset = 0;
    for (Announced tensor : tensors) {
      Check.input(names.add(tensor.name()), "Two tensors have the name %s", tensor.name());
      ObjectNode node = root.putObject(tensor.name());
      node.put("dtype", tensor.type().name());
      for (long dim : tensor.shape().toArray()) {
        node.withArray("/shape").add(dim);
      }
      node.putArray("data_offsets").add(offset).add(offset + tensor.bytes());
      offset += tensor.bytes();
    }
    try {
      StringBuilder text = new StringBuilder(json.writeValueAsString(root));
      // The header ends in blanks, so that the tensors start at a multiple of the alignment.
      int length = text.toString().getBytes(StandardCharsets.UTF_8).length;
      text.append(" ".repeat((ALIGNMENT - length % ALIGNMENT) % ALIGNMENT));
      return text.toString().getBytes(StandardCharsets.UTF_8);
    } catch (JsonProcessingException e) {
      throw new MixedGpuException(Fault.BUG, "The header can't be written as JSON", e);
    }
  }

  /** Writes bytes of the current tensor, in its stored type. */
  public void writeBytes(ByteBuffer bytes) {
    Check.that(
        current < tensors.size()
            && bytes.remaining() <= tensors.get(current).bytes() - writtenOfCurrent,
        "%s: %d bytes more than announced",
        file.path(),
        bytes.remaining());
    writtenOfCurrent += bytes.remaining();
    file.write(bytes);
    if (writtenOfCurrent == tensors.get(current).bytes()) {
      current++;
      writtenOfCurrent = 0;
      skipEmpty();
    }
  }

  private void skipEmpty() {
    while (current < tensors.size() && tensors.get(current).bytes() == 0) {
      current++;
    }
  }

  /** Writes elements of the current tensor from F32, little-endian, rounding to nearest even. */
  public void writeFloats(ByteBuffer floats) {
    Check.that(current < tensors.size(), "%s: more than was announced", file.path());
    StoredType type = tensors.get(current).type();
    if (type == StoredType.F32) {
      writeBytes(floats);
      return;
    }
    ByteBuffer stored = ByteBuffer.allocate(CHUNK_BYTES);
    while (floats.hasRemaining()) {
      int elements = Math.min(floats.remaining() / Float.BYTES, CHUNK_BYTES / type.bytes());
      ByteBuffer part = floats.slice(floats.position(), elements * Float.BYTES);
      checkFits(part, tensors.get(current));
      type.fromFloats(part, stored.clear());
      floats.position(floats.position() + elements * Float.BYTES);
      writeBytes(stored.flip());
    }
  }

  /** A finite weight must not become infinite: F16 ends at 65504. */
  private void checkFits(ByteBuffer floats, Announced tensor) {
    if (tensor.type() != StoredType.F16) {
      return;
    }
    ByteBuffer values = floats.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    while (values.hasRemaining()) {
      float value = values.getFloat();
      Check.input(
          Math.abs(value) < 65520 || !Float.isFinite(value),
          "%s: tensor %s has the value %s, which F16 can't hold; store it as BF16 or F32",
          file.path(),
          tensor.name(),
          value);
    }
  }

  /** Makes the file visible; false if there is a file of this name already, which stays. */
  public boolean publish() {
    Check.that(
        current == tensors.size(),
        "%s: tensor %d of %d is not complete",
        file.path(),
        current + 1,
        tensors.size());
    return file.publish();
  }

  @Override
  public void close() {
    file.close();
  }
}
