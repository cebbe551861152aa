package org.mixedgpu.nn.tokenizer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.TextFiles;

/** The files of a tokenizer in a model folder. */
final class TokenizerFiles {
  static final String TOKENIZER = "tokenizer.json";
  static final String CONFIG = "tokenizer_config.json";

  /** What transformers keeps beside the tokenizer; copied, not read. */
  private static final List<String> OTHERS =
      List.of("special_tokens_map.json", "added_tokens.json", "chat_template.jinja");

  private static final String MODEL_CONFIG = "config.json";

  /** The largest vocabularies have about 40 MB. */
  private static final int MAX_BYTES = 1 << 28;

  private TokenizerFiles() {}

  static Tokenizer open(FileStore files, String folder) {
    Map<String, String> texts = new LinkedHashMap<>();
    texts.put(TOKENIZER, read(files, FileStore.in(folder, TOKENIZER)));
    add(files, folder, CONFIG, texts);
    OTHERS.forEach(name -> add(files, folder, name, texts));
    if (texts.get(TOKENIZER).equals(ByteTokenizer.tokenizerJson())) {
      return new ByteTokenizer();
    }
    String config = FileStore.in(folder, MODEL_CONFIG);
    JsonNode model = files.exists(config) ? json(read(files, config), config) : null;
    return HuggingFaceTokens.of(texts, model, FileStore.in(folder, TOKENIZER));
  }

  private static void add(FileStore files, String folder, String name, Map<String, String> texts) {
    String path = FileStore.in(folder, name);
    if (files.exists(path)) {
      texts.put(name, read(files, path));
    }
  }

  static JsonNode json(String text, String path) {
    try {
      return new ObjectMapper().readTree(text);
    } catch (JsonProcessingException e) {
      throw new MixedGpuException(
          Fault.CORRUPT, path + " is not JSON: " + e.getOriginalMessage(), e);
    }
  }

  private static String read(FileStore files, String path) {
    return TextFiles.read(files, path, MAX_BYTES);
  }

  /** Publishes each file; one with the same contents may be there already. */
  static void save(FileStore files, String folder, Map<String, String> texts) {
    texts.forEach(
        (name, text) -> {
          String path = FileStore.in(folder, name);
          Check.input(
              TextFiles.write(files, path, text) || read(files, path).equals(text),
              "%s holds another tokenizer's file; save to a new folder",
              path);
        });
  }
}
