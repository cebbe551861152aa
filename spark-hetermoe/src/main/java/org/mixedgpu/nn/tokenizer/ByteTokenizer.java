package org.mixedgpu.nn.tokenizer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;

/**
 * The tokens of a text are the bytes of its UTF-8 form, id 0 to 255, then three special tokens.
 * Needs no files and no native library; saved, it is a byte-level BPE without merges, which
 * transformers opens and which gives the same ids there.
 */
public final class ByteTokenizer implements Tokenizer {
  public static final int BOS = 256;
  public static final int EOS = 257;
  public static final int PAD = 258;
  public static final int VOCAB = 259;

  private static final String[] SPECIAL = {"<|bos|>", "<|eos|>", "<|pad|>"};

  /** BOS, then the bytes. */
  @Override
  public int[] encode(String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    int[] ids = new int[bytes.length + 1];
    ids[0] = BOS;
    for (int i = 0; i < bytes.length; i++) {
      ids[i + 1] = bytes[i] & 0xff;
    }
    return ids;
  }

  @Override
  public int[] encodePlain(String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    int[] ids = new int[bytes.length];
    for (int i = 0; i < bytes.length; i++) {
      ids[i] = bytes[i] & 0xff;
    }
    return ids;
  }

  @Override
  public String decode(int... ids) {
    byte[] bytes = new byte[ids.length];
    int count = 0;
    for (int id : ids) {
      Check.input(id >= 0, "Token id %d is negative", id);
      // A model's vocabulary may be padded beyond ours; those ids have no text.
      if (id < BOS) {
        bytes[count++] = (byte) id;
      }
    }
    return new String(bytes, 0, count, StandardCharsets.UTF_8);
  }

  @Override
  public String continuation(int id) {
    return decode(id);
  }

  @Override
  public int vocab() {
    return VOCAB;
  }

  @Override
  public int bosId() {
    return BOS;
  }

  @Override
  public int eosId() {
    return EOS;
  }

  @Override
  public void save(FileStore files, String folder) {
    Map<String, String> texts = new LinkedHashMap<>();
    texts.put(TokenizerFiles.TOKENIZER, tokenizerJson());
    texts.put(TokenizerFiles.CONFIG, configJson());
    TokenizerFiles.save(files, folder, texts);
  }

  @Override
  public void close() {}

  static String tokenizerJson() {
    ObjectNode root = new ObjectMapper().createObjectNode();
    root.put("version", "1.0");
    root.putNull("truncation");
    root.putNull("padding");
    ArrayNode added = root.putArray("added_tokens");
    for (int i = 0; i < SPECIAL.length; i++) {
      ObjectNode token = added.addObject();
      token.put("id", BOS + i).put("content", SPECIAL[i]).put("single_word", false);
      token.put("lstrip", false).put("rstrip", false).put("normalized", false);
      token.put("special", true);
    }
    root.putNull("normalizer");
    ObjectNode byteLevel = root.putObject("pre_tokenizer");
    byteLevel.put("type", "ByteLevel").put("add_prefix_space", false);
    byteLevel.put("trim_offsets", true).put("use_regex", false);
    ObjectNode template = root.putObject("post_processor");
    template.put("type", "TemplateProcessing");
    ArrayNode single = template.putArray("single");
    special(single, 0);
    sequence(single, "A", 0);
    ArrayNode pair = template.putArray("pair");
    special(pair, 0);
    sequence(pair, "A", 0);
    sequence(pair, "B", 1);
    ObjectNode bos = template.putObject("special_tokens").putObject(SPECIAL[0]);
    bos.put("id", SPECIAL[0]);
    bos.putArray("ids").add(BOS);
    bos.putArray("tokens").add(SPECIAL[0]);
    ObjectNode decoder = root.putObject("decoder");
    decoder.put("type", "ByteLevel").put("add_prefix_space", false);
    decoder.put("trim_offsets", true).put("use_regex", false);
    ObjectNode model = root.putObject("model");
    model.put("type", "BPE").putNull("dropout").putNull("unk_token");
    model.putNull("continuing_subword_prefix").putNull("end_of_word_suffix");
    model.put("fuse_unk", false).put("byte_fallback", false).put("ignore_merges", false);
    ObjectNode vocab = model.putObject("vocab");
    for (int i = 0; i < BOS; i++) {
      vocab.put(Character.toString(letter(i)), i);
    }
    model.putArray("merges");
    return write(root);
  }

  private static void special(ArrayNode template, int typeId) {
    template.addObject().putObject("SpecialToken").put("id", SPECIAL[0]).put("type_id", typeId);
  }

  private static void sequence(ArrayNode template, String id, int typeId) {
    template.addObject().putObject("Sequence").put("id", id).put("type_id", typeId);
  }

  /**
   * The letter that stands for a byte in byte-level vocabularies: itself where it is printable in
   * Latin-1, else the next letter from U+0100 on.
   */
  private static int letter(int value) {
    int next = 0x100;
    for (int b = 0; b < value; b++) {
      next += isPrintable(b) ? 0 : 1;
    }
    return isPrintable(value) ? value : next;
  }

  private static boolean isPrintable(int b) {
    return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  }

  private static String configJson() {
    ObjectNode root = new ObjectMapper().createObjectNode();
    root.put("tokenizer_class", "PreTrainedTokenizerFast");
    root.put("bos_token", SPECIAL[0]).put("eos_token", SPECIAL[1]).put("pad_token", SPECIAL[2]);
    root.put("clean_up_tokenization_spaces", false);
    return write(root);
  }

  private static String write(ObjectNode root) {
    try {
      return new ObjectMapper().writerWithDefaultPrettyPrinter().writeValueAsString(root) + "\n";
    } catch (JsonProcessingException e) {
      throw new MixedGpuException(Fault.BUG, "A tokenizer can't be written as JSON", e);
    }
  }
}
