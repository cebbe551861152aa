package org.mixedgpu.nn.tokenizer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * What the tokenizer library does not tell about a {@code tokenizer.json}. Read as a stream: large
 * vocabularies take hundreds of megabytes as a tree.
 *
 * @param vocab one more than the largest id
 * @param added ids of the added tokens, special ones included, by their text
 */
record TokenizerFacts(int vocab, Map<String, Integer> added) {

  static TokenizerFacts of(String json, String path) {
    Map<String, Integer> added = new LinkedHashMap<>();
    int largest = -1;
    try (JsonParser parser = new JsonFactory().createParser(json)) {
      Check.intact(parser.nextToken() == JsonToken.START_OBJECT, "%s is not a JSON object", path);
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String field = parser.currentName();
        JsonToken value = parser.nextToken();
        if (field.equals("added_tokens") && value == JsonToken.START_ARRAY) {
          readAdded(parser, added);
        } else if (field.equals("model") && value == JsonToken.START_OBJECT) {
          largest = Math.max(largest, readModel(parser));
        } else {
          parser.skipChildren();
        }
      }
    } catch (JsonProcessingException e) {
      throw new MixedGpuException(
          Fault.CORRUPT, path + " is not JSON: " + e.getOriginalMessage(), e);
    } catch (IOException e) {
      throw new MixedGpuException(Fault.CORRUPT, path + " can't be decoded", e);
    }
    for (int id : added.values()) {
      largest = Math.max(largest, id);
    }
    Check.intact(largest >= 0, "%s has no vocabulary", path);
    return new TokenizerFacts(largest + 1, added);
  }

  private static void readAdded(JsonParser parser, Map<String, Integer> added) throws IOException {
    while (parser.nextToken() == JsonToken.START_OBJECT) {
      int id = -1;
      String content = "";
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String field = parser.currentName();
        parser.nextToken();
        if (field.equals("id")) {
          id = parser.getIntValue();
        } else if (field.equals("content")) {
          content = parser.getText();
        } else {
          parser.skipChildren();
        }
      }
      added.put(content, id);
    }
  }

  /** The largest id of {"vocab": {"token": id ...}} or {"vocab": [["token", score] ...]}. */
  private static int readModel(JsonParser parser) throws IOException {
    int largest = -1;
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      boolean vocab = parser.currentName().equals("vocab");
      JsonToken value = parser.nextToken();
      if (vocab && value == JsonToken.START_OBJECT) {
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
          parser.nextToken();
          largest = Math.max(largest, parser.getIntValue());
        }
      } else if (vocab && value == JsonToken.START_ARRAY) {
        while (parser.nextToken() != JsonToken.END_ARRAY) {
          parser.skipChildren();
          largest++;
        }
      } else {
        parser.skipChildren();
      }
    }
    return largest;
  }
}
