package org.mixedgpu.nn.tokenizer;

import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;

/** Text to token ids and back. Any thread may call it until it is closed. */
public interface Tokenizer extends AutoCloseable {
  /** How the tokenizer of a model is chosen where its folder has none. */
  String BYTE = "byte";

  /** Ids of a text, with the special tokens that this tokenizer puts around one, such as BOS. */
  int[] encode(String text);

  /** Ids of the text alone. */
  int[] encodePlain(String text);

  /** The text of ids, without special tokens; ids that end inside a character give U+FFFD. */
  String decode(int... ids);

  /**
   * The text that one more token adds to a text. Unlike {@link #decode} it keeps the space that
   * some tokenizers put before a word and drop at the start of a text. Empty for special tokens.
   */
  String continuation(int id);

  /** Ids are below this number. */
  int vocab();

  /** Id that starts a text; -1 for none. */
  int bosId();

  /** Id that ends a text; -1 for none. */
  int eosId();

  /** Writes the files with which transformers and {@link #open} load this tokenizer. */
  void save(FileStore files, String folder);

  @Override
  void close();

  /** The tokenizer of a model folder: its {@code tokenizer.json}. The caller closes it. */
  static Tokenizer open(FileStore files, String folder) {
    if (!files.exists(FileStore.in(folder, TokenizerFiles.TOKENIZER))) {
      throw new MixedGpuException(
          Fault.MISSING,
          folder
              + " has no tokenizer.json; put the model's own there, or choose the tokenizer '"
              + BYTE
              + "', whose tokens are the bytes of the text");
    }
    return TokenizerFiles.open(files, folder);
  }

  /**
   * The tokenizer that a setting names: {@code byte}, or a folder with a {@code tokenizer.json}.
   */
  static Tokenizer named(FileStore files, String name) {
    Check.input(!name.isBlank(), "Name a tokenizer: '%s' or a model folder", BYTE);
    return name.equals(BYTE) ? new ByteTokenizer() : open(files, name);
  }
}
