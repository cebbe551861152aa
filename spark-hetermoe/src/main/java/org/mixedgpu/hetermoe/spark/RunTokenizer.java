package org.mixedgpu.hetermoe.spark;

import java.io.Serializable;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.spark.data.CorpusWriter;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.tokenizer.Tokenizer;

/**
 * What turns texts into ids in a training run, and which files of it the trained model gets.
 *
 * @param name {@code byte} or a folder; empty for none, where only the user knows what ids mean
 */
record RunTokenizer(String name, HadoopFileStore store) implements Serializable {
  static RunTokenizer of(HeterMoeParams p, ModelSource source, HadoopFileStore store) {
    return new RunTokenizer(name(p, source, store), store);
  }

  private static String name(HeterMoeParams p, ModelSource source, FileStore store) {
    String named = p.value(TrainOptions.TOKENIZER);
    if (!named.isEmpty()) {
      return named.endsWith("/tokenizer.json")
          ? named.substring(0, named.length() - "/tokenizer.json".length())
          : named;
    }
    boolean text = p.value(TrainOptions.TOKENS_COL).isEmpty();
    if (!source.weights().isEmpty()) {
      return ofFolder(source.weights(), text, store);
    }
    return text ? Tokenizer.BYTE : "";
  }

  /**
   * The tokenizer that a model's folder has, or none for ids; {@code MISSING} where texts need one.
   * Another one would give a trained model ids that mean something else to it.
   */
  static String ofFolder(String folder, boolean text, FileStore store) {
    if (store.exists(FileStore.in(folder, "tokenizer.json"))) {
      return folder;
    }
    if (text) {
      throw new MixedGpuException(
          Fault.MISSING,
          "The model in "
              + folder
              + " has no tokenizer.json, which texts need; name its tokenizer's folder (tokenizer),"
              + " 'byte' if it was trained on bytes, or a column of token ids (tokensCol)");
    }
    return "";
  }

  /** The id after each document, -1 for none; refuses a tokenizer that the model can't have. */
  int end(ModelConfig config) {
    // The end the model knows; the tokenizer's where the model's configuration names none.
    int end = config.eosIds().isEmpty() ? -1 : config.eosIds().get(0);
    if (name.isEmpty()) {
      return end;
    }
    try (Tokenizer opened = Tokenizer.named(store, name)) {
      Check.input(
          opened.vocab() <= config.vocab(),
          "Tokenizer %s has %d ids and the model's vocabulary only %d; use the model's own"
              + " tokenizer",
          name,
          opened.vocab(),
          config.vocab());
      return end < 0 ? opened.eosId() : end;
    }
  }

  CorpusWriter.Encoder encoder() {
    return encoder(name, store);
  }

  /** Opens the tokenizer of this name, where it is not empty. */
  static CorpusWriter.Encoder encoder(String name, HadoopFileStore store) {
    return () -> name.isEmpty() ? null : Tokenizer.named(store, name);
  }

  void save(String folder) {
    if (!name.isEmpty()) {
      try (Tokenizer opened = Tokenizer.named(store, name)) {
        opened.save(store, folder);
      }
    }
  }
}
