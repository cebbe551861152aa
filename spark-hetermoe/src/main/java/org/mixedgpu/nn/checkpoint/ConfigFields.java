package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.NullNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * The fields of a JSON object, each to be asked for: {@link #finish} refuses what nobody asked for,
 * so that no setting of a model is ignored. A field with the value null counts as absent, but for
 * {@link #positiveOrNone}.
 */
final class ConfigFields {
  /** No extent of a model is larger than this, so that products of two fit a long. */
  static final int LARGEST = 1 << 28;

  private final JsonNode node;
  private final String source;
  private final String prefix;
  private final Set<String> asked = new TreeSet<>();

  ConfigFields(JsonNode node, String source, String prefix) {
    this.node = node;
    this.source = source;
    this.prefix = prefix;
  }

  boolean has(String name) {
    return !find(name).isNull();
  }

  /** A whole number from 1 on. */
  int positive(String name) {
    return positive(name, find(name));
  }

  /** The same, or this value where the field is absent. */
  int positiveOr(String name, int otherwise) {
    return has(name) ? positive(name) : otherwise;
  }

  /** The same for a field whose null says that there is none: 0 then, as opposed to absent. */
  int positiveOrNone(String name, int absent) {
    return positiveOr(name, node.has(name) ? 0 : absent);
  }

  /** A whole number from 0 on. */
  int count(String name) {
    JsonNode value = find(name);
    return value.isIntegralNumber() && value.canConvertToInt() && value.intValue() == 0
        ? 0
        : positive(name);
  }

  /** Two spellings of one field; where both are there, they must agree. */
  int positiveOfEither(String name, String alias) {
    if (!has(name)) {
      return positive(has(alias) ? alias : name);
    }
    int value = positive(name);
    if (has(alias) && positive(alias) != value) {
      throw failure(alias, find(alias), "the value of " + name + ", " + value);
    }
    return value;
  }

  private int positive(String name, JsonNode value) {
    if (!value.isIntegralNumber()
        || !value.canConvertToInt()
        || value.intValue() < 1
        || value.intValue() > LARGEST) {
      throw failure(name, value, "a whole number from 1 to " + LARGEST);
    }
    return value.intValue();
  }

  /** Token ids: absent, one number or a list. */
  List<Integer> ids(String name) {
    JsonNode value = find(name);
    List<Integer> ids = new ArrayList<>();
    for (JsonNode id :
        value.isArray() ? value : value.isNull() ? List.<JsonNode>of() : List.of(value)) {
      if (!id.isIntegralNumber() || !id.canConvertToInt()) {
        throw failure(name, value, "token ids");
      }
      // Some models write -1 for "no such token".
      if (id.intValue() >= 0) {
        ids.add(id.intValue());
      }
    }
    return ids;
  }

  double number(String name) {
    JsonNode value = find(name);
    // Many of them become floats.
    if (!value.isNumber() || !(Math.abs(value.doubleValue()) <= Float.MAX_VALUE)) {
      throw failure(name, value, "a number that F32 can hold");
    }
    return value.doubleValue();
  }

  double numberOr(String name, double otherwise) {
    return has(name) ? number(name) : otherwise;
  }

  boolean flagOr(String name, boolean otherwise) {
    JsonNode value = find(name);
    if (!value.isNull() && !value.isBoolean()) {
      throw failure(name, value, "true or false");
    }
    return value.isNull() ? otherwise : value.booleanValue();
  }

  String text(String name) {
    JsonNode value = find(name);
    if (!value.isTextual()) {
      throw failure(name, value, "text");
    }
    return value.textValue();
  }

  String textOr(String name, String otherwise) {
    return has(name) ? text(name) : otherwise;
  }

  List<JsonNode> listOr(String name, List<JsonNode> otherwise) {
    JsonNode value = find(name);
    if (!value.isNull() && !value.isArray()) {
      throw failure(name, value, "a list");
    }
    List<JsonNode> items = new ArrayList<>();
    value.forEach(items::add);
    return value.isNull() ? otherwise : items;
  }

  /** The fields of an object in this one; the caller finishes them. */
  ConfigFields object(String name) {
    JsonNode value = find(name);
    if (!value.isObject()) {
      throw failure(name, value, "an object");
    }
    return new ConfigFields(value, source, prefix + name + ".");
  }

  /** A feature that does not exist here: fine where it is absent or switched off. */
  void only(String name, double off, String why) {
    if (has(name) && number(name) != off) {
      throw failure(name, find(name), off + ": " + why);
    }
  }

  /** The same for a feature that any value but null would switch on. */
  void absent(String name, String why) {
    if (has(name)) {
      throw failure(name, find(name), "nothing: " + why);
    }
  }

  /** Refuses every field that was not asked for, is not null and is not known to be harmless. */
  void finish(Map<String, String> harmless) {
    List<String> unknown = new ArrayList<>();
    node.fields()
        .forEachRemaining(
            field -> {
              if (!field.getValue().isNull()
                  && !asked.contains(field.getKey())
                  && !harmless.containsKey(field.getKey())) {
                unknown.add(prefix + field.getKey() + " = " + field.getValue());
              }
            });
    if (!unknown.isEmpty()) {
      throw new MixedGpuException(
          Fault.BAD_INPUT,
          source
              + ": not implemented, and ignoring it could give wrong results: "
              + String.join(", ", unknown)
              + "; remove it only if the model's code does not use it");
    }
  }

  MixedGpuException failure(String name, JsonNode value, String expected) {
    return new MixedGpuException(
        Fault.BAD_INPUT,
        source
            + ": "
            + prefix
            + name
            + (value.isNull() ? " is missing" : " is " + value)
            + "; expected "
            + expected);
  }

  MixedGpuException failure(String name, String expected) {
    return failure(name, find(name), expected);
  }

  private JsonNode find(String name) {
    asked.add(name);
    JsonNode value = node.get(name);
    return value == null ? NullNode.getInstance() : value;
  }
}
