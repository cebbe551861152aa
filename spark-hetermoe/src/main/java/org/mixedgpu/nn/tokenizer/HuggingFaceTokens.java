package org.mixedgpu.nn.tokenizer;

import ai.djl.engine.EngineException;
import ai.djl.huggingface.tokenizers.Encoding;
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;

/**
 * A {@code tokenizer.json} in Hugging Face's own tokenizer library. Its native part lies in a jar
 * and is unpacked into the folder that the environment variable {@code DJL_CACHE_DIR} names, else
 * {@code ~/.djl.ai}.
 */
final class HuggingFaceTokens implements Tokenizer {
  static {
    // The CPU library is in the jar; without these the loader looks for GPUs and may download.
    System.setProperty("ai.djl.offline", "true");
    System.setProperty("RUST_FLAVOR", "cpu");
    System.setProperty("OPT_OUT_TRACKING", "true");
  }

  private final HuggingFaceTokenizer tokenizer;
  private final Map<String, String> texts;
  private final int vocab;
  private final int bosId;
  private final int eosId;

  /** Some ordinary token, and its text. */
  private final int before;

  private final String textBefore;

  private HuggingFaceTokens(
      HuggingFaceTokenizer tokenizer, Map<String, String> texts, int vocab, int bosId, int eosId) {
    this.tokenizer = tokenizer;
    this.texts = texts;
    this.vocab = vocab;
    this.bosId = bosId;
    this.eosId = eosId;
    int[] ids = encodePlain("a");
    this.before = ids.length == 0 ? 0 : ids[ids.length - 1];
    this.textBefore = decode(before);
  }

  /**
   * @param texts contents of the tokenizer's files, by name
   * @param model the model's config.json, or null
   * @param path of the tokenizer.json, for errors
   */
  static HuggingFaceTokens of(Map<String, String> texts, JsonNode model, String path) {
    String json = texts.get(TokenizerFiles.TOKENIZER);
    TokenizerFacts facts = TokenizerFacts.of(json, path);
    String config = texts.get(TokenizerFiles.CONFIG);
    JsonNode settings = config == null ? null : TokenizerFiles.json(config, path);
    return new HuggingFaceTokens(
        open(json, path),
        new LinkedHashMap<>(texts),
        facts.vocab(),
        special("bos_token", facts, settings, model),
        special("eos_token", facts, settings, model));
  }

  private static HuggingFaceTokenizer open(String json, String path) {
    // Without these the library would cut and pad to 512 tokens where the file says nothing.
    Map<String, String> options = Map.of("truncation", "DO_NOT_TRUNCATE", "padding", "DO_NOT_PAD");
    try {
      return HuggingFaceTokenizer.newInstance(
          new ByteArrayInputStream(json.getBytes(StandardCharsets.UTF_8)), options);
    } catch (EngineException | LinkageError e) {
      throw new MixedGpuException(
          Fault.MISSING,
          "The native tokenizer library can't be loaded: "
              + e.getMessage()
              + "; set DJL_CACHE_DIR to a folder that this user can write, or use the tokenizer '"
              + BYTE
              + "'",
          e);
    } catch (IOException | RuntimeException e) {
      throw new MixedGpuException(
          Fault.CORRUPT, path + " can't be opened by the tokenizer library: " + e.getMessage(), e);
    }
  }

  /** The tokenizer's own setting, else the model's; -1 for none. */
  private static int special(String name, TokenizerFacts facts, JsonNode settings, JsonNode model) {
    if (settings != null && settings.hasNonNull(name)) {
      JsonNode token = settings.get(name);
      String content = token.isObject() ? token.path("content").asText() : token.asText();
      Integer id = facts.added().get(content);
      if (id != null) {
        return id;
      }
    }
    JsonNode id = model == null ? null : model.get(name + "_id");
    if (id != null && id.isArray() && !id.isEmpty()) {
      id = id.get(0);
    }
    return id != null && id.canConvertToInt() ? id.intValue() : -1;
  }

  @Override
  public int[] encode(String text) {
    return ids(tokenizer.encode(text, true /* special tokens */, false /* overflow */));
  }

  @Override
  public int[] encodePlain(String text) {
    return ids(tokenizer.encode(text, false /* special tokens */, false /* overflow */));
  }

  private static int[] ids(Encoding encoding) {
    return Arrays.stream(encoding.getIds()).mapToInt(Math::toIntExact).toArray();
  }

  @Override
  public String decode(int... ids) {
    long[] wide = new long[ids.length];
    for (int i = 0; i < ids.length; i++) {
      Check.input(ids[i] >= 0, "Token id %d is negative", ids[i]);
      wide[i] = ids[i];
    }
    return tokenizer.decode(wide, true /* skip special tokens */);
  }

  @Override
  public String continuation(int id) {
    String both = decode(before, id);
    // A token that completes a character of the one before would change that one's text.
    return both.startsWith(textBefore) ? both.substring(textBefore.length()) : decode(id);
  }

  @Override
  public int vocab() {
    return vocab;
  }

  @Override
  public int bosId() {
    return bosId;
  }

  @Override
  public int eosId() {
    return eosId;
  }

  @Override
  public void save(FileStore files, String folder) {
    TokenizerFiles.save(files, folder, texts);
  }

  @Override
  public void close() {
    tokenizer.close();
  }
}
