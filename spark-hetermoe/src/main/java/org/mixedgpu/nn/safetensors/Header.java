package org.mixedgpu.nn.safetensors;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.Shape;

/**
 * The JSON header of a safetensors file. Nothing in it is believed: types, shapes and offsets must
 * agree with each other, and together the tensors must cover the rest of the file exactly, without
 * gaps or overlaps, as the format demands.
 */
record Header(Map<String, TensorEntry> entries, Map<String, String> metadata) {
  static final String METADATA = "__metadata__";

  private static final ObjectMapper JSON =
      new ObjectMapper()
          .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  /**
   * @param dataOffset where the data starts in the file
   * @param fileBytes the file's size
   */
  static Header parse(byte[] json, String path, long dataOffset, long fileBytes) {
    JsonNode root = tree(json, path);
    Map<String, String> metadata = new LinkedHashMap<>();
    List<TensorEntry> entries = new ArrayList<>();
    root.fields()
        .forEachRemaining(
            field -> {
              if (field.getKey().equals(METADATA)) {
                readMetadata(field.getValue(), path, metadata);
              } else {
                entries.add(
                    entry(
                        field.getKey(),
                        field.getValue(),
                        path,
                        dataOffset,
                        fileBytes - dataOffset));
              }
            });
    entries.sort(
        Comparator.comparingLong(TensorEntry::offset).thenComparingLong(TensorEntry::bytes));
    long end = dataOffset;
    Map<String, TensorEntry> byName = new LinkedHashMap<>();
    for (TensorEntry entry : entries) {
      Check.intact(
          entry.offset() == end,
          "%s: tensor %s starts at byte %d, but the one before it ends at %d;"
              + " tensors may neither overlap nor leave gaps",
          path,
          entry.name(),
          entry.offset(),
          end);
      end += entry.bytes();
      byName.put(entry.name(), entry);
    }
    Check.intact(
        end == fileBytes,
        "%s: its tensors end at byte %d but the file has %d bytes; copy it again",
        path,
        end,
        fileBytes);
    return new Header(byName, metadata);
  }

  private static JsonNode tree(byte[] json, String path) {
    JsonNode root;
    try {
      root = JSON.readTree(json);
    } catch (JsonProcessingException e) {
      throw new MixedGpuException(
          Fault.CORRUPT,
          path + ": its header of " + json.length + " bytes is not JSON: " + e.getOriginalMessage(),
          e);
    } catch (IOException e) {
      throw new MixedGpuException(Fault.CORRUPT, path + ": its header can't be decoded", e);
    }
    Check.intact(root != null && root.isObject(), "%s: its header is not a JSON object", path);
    return root;
  }

  private static void readMetadata(JsonNode node, String path, Map<String, String> metadata) {
    Check.intact(node.isObject(), "%s: %s is not an object", path, METADATA);
    node.fields()
        .forEachRemaining(
            field -> {
              Check.intact(
                  field.getValue().isTextual(),
                  "%s: %s.%s is not text",
                  path,
                  METADATA,
                  field.getKey());
              metadata.put(field.getKey(), field.getValue().textValue());
            });
  }

  private static TensorEntry entry(
      String name, JsonNode node, String path, long dataOffset, long dataBytes) {
    String typeName = node.path("dtype").asText();
    Check.intact(node.path("dtype").isTextual(), "%s: tensor %s has no dtype", path, name);
    StoredType type =
        StoredType.named(typeName)
            .orElseThrow(
                () ->
                    new MixedGpuException(
                        Fault.BAD_INPUT,
                        path
                            + ": tensor "
                            + name
                            + " has the type "
                            + typeName
                            + ", which can't be read; convert it to F32, F16 or BF16"));
    long[] dims = longs(node.path("shape"), "shape", name, path);
    long[] offsets = longs(node.path("data_offsets"), "data_offsets", name, path);
    Check.intact(
        offsets.length == 2 && offsets[0] <= offsets[1] && offsets[1] <= dataBytes,
        "%s: tensor %s has data_offsets %s, which is no range within the file's %d bytes of data",
        path,
        name,
        node.path("data_offsets"),
        dataBytes);
    long bytes = bytes(type, dims, name, path, dataBytes);
    Check.intact(
        bytes == offsets[1] - offsets[0],
        "%s: tensor %s of type %s and shape %s needs %d bytes but has %d",
        path,
        name,
        type,
        node.path("shape"),
        bytes,
        offsets[1] - offsets[0]);
    // A scalar has an empty shape in the file and one element here.
    Shape shape = dims.length == 0 ? Shape.of(1) : Shape.of(dims);
    return new TensorEntry(name, type, shape, dataOffset + offsets[0]);
  }

  private static long bytes(
      StoredType type, long[] dims, String name, String path, long dataBytes) {
    boolean empty = Arrays.stream(dims).anyMatch(dim -> dim == 0);
    long most = empty ? Long.MAX_VALUE : dataBytes;
    long bytes = type.bytes();
    for (long dim : dims) {
      // A 0 must not hide the other extents: whoever multiplies some of them would overflow.
      long factor = Math.max(dim, 1);
      Check.intact(
          bytes <= most / factor,
          "%s: tensor %s of shape %s is larger than %s; write it again",
          path,
          name,
          Arrays.toString(dims).replace(" ", ""),
          empty ? "any file, but for its 0" : "the file");
      bytes *= factor;
    }
    return empty ? 0 : bytes;
  }

  private static long[] longs(JsonNode node, String field, String name, String path) {
    Check.intact(node.isArray(), "%s: tensor %s has no %s", path, name, field);
    long[] values = new long[node.size()];
    for (int i = 0; i < values.length; i++) {
      JsonNode value = node.get(i);
      Check.intact(
          value.isIntegralNumber() && value.canConvertToLong() && value.longValue() >= 0,
          "%s: %s of tensor %s is %s; expected whole numbers from 0 on",
          path,
          field,
          name,
          node);
      values[i] = value.longValue();
    }
    return values;
  }
}
