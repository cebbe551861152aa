package org.mixedgpu.cake.spark;

import java.io.Serializable;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.mixedgpu.backend.BackendChoice;
import org.mixedgpu.backend.Precision;
import org.mixedgpu.base.Check;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.prefill.Layouts;
import org.mixedgpu.cake.prefill.PrefillMode;
import org.mixedgpu.cake.store.BundleStore;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.nn.tokenizer.Tokenizer;

/**
 * All that tasks need to know, settled in the driver before any job.
 *
 * @param files the application's file systems
 * @param modelPath the model's folder
 * @param modelStamp changes when a file of the folder does
 * @param tokenizer name of the tokenizer; empty for none, where rows hold token ids
 * @param cachePath empty for no cache
 * @param layout of the KV cache
 * @param vocabulary of the model
 * @param maxTokens longest prompt, as the model allows
 * @param capacity tokens of a KV cache: the longest prompt and the longest label behind it
 * @param labels token ids of each label
 */
record PrefillFacts(
    HadoopFileStore files,
    String modelPath,
    String modelStamp,
    String tokenizer,
    String cachePath,
    KvLayout layout,
    int vocabulary,
    int maxTokens,
    int capacity,
    int[][] labels,
    PrefillMode mode,
    String write,
    int topK,
    boolean embedding,
    double ioBytesPerSecond,
    int readsInFlight,
    long bundleBytes,
    BackendChoice backend)
    implements Serializable {

  /** By stamp: several transforms of one model read its weights once. */
  private static final Map<String, String> DIGESTS = new ConcurrentHashMap<>();

  /**
   * Reads the model's config, and all of its weights once for their digest, which goes into every
   * key.
   *
   * @param text whether the input column holds text
   * @param cores of one executor
   */
  static PrefillFacts of(CakeParams params, HadoopFileStore files, boolean text, int cores) {
    String modelPath = params.value(CakeOptions.MODEL_PATH);
    ModelConfig config = Checkpoint.config(files, modelPath);
    String tokenizer = tokenizer(params, files, text);
    int[][] labels = labels(params, files, tokenizer, config.vocab());
    int longest = 0;
    for (int[] label : labels) {
      longest = Math.max(longest, label.length - 1);
    }
    int maxTokens =
        (int)
            Math.min(
                params.value(CakeOptions.MAX_PROMPT_TOKENS),
                config.maxPositions() - (long) longest);
    Check.input(
        maxTokens > 0,
        "The longest label has %d tokens and the model takes %d: no prompt fits; use shorter labels",
        longest + 1,
        config.maxPositions());
    String cachePath = params.value(CakeOptions.CACHE_PATH);
    // Without a cache nothing is called by the digest, and reading all weights can be saved.
    String stamp = stamp(files, modelPath);
    String digest =
        cachePath.isEmpty()
            ? "0".repeat(64)
            : DIGESTS.computeIfAbsent(stamp, s -> Checkpoint.digest(files, modelPath));
    BackendChoice backend = backend(params, cores);
    return new PrefillFacts(
        files,
        modelPath,
        stamp,
        tokenizer,
        cachePath,
        Layouts.of(
            config,
            backend.precision().type().orElseThrow(),
            digest,
            params.value(CakeOptions.CHUNK_TOKENS).intValue()),
        config.vocab(),
        maxTokens,
        maxTokens + longest,
        labels,
        PrefillMode.valueOf(params.value(CakeOptions.MODE).toUpperCase(Locale.ROOT)),
        params.value(CakeOptions.WRITE_POLICY),
        params.value(CakeOptions.TOP_K).intValue(),
        params.value(CakeOptions.EMBEDDING),
        params.value(CakeOptions.IO_BYTES_PER_SECOND),
        params.value(CakeOptions.READS_IN_FLIGHT).intValue(),
        params.value(CakeOptions.BUNDLE_BYTES),
        backend);
  }

  /** Of the files that make the model what it is. */
  static String stamp(HadoopFileStore files, String modelPath) {
    return files.list(modelPath).stream()
        .filter(file -> file.name().matches("config\\.json|.*\\.safetensors(\\.index\\.json)?"))
        .toList()
        .toString();
  }

  /** With a precision of its own: the driver computes keys, and sees no executor's device. */
  private static BackendChoice backend(CakeParams params, int cores) {
    String kind = params.value(CakeOptions.BACKEND);
    String precision = params.value(CakeOptions.PRECISION);
    long threads = params.value(CakeOptions.THREADS);
    return BackendChoice.of(
        kind,
        precision.equals(Precision.AUTO.word())
            ? (kind.equals("cuda") ? Precision.BF16 : Precision.FP32).word()
            : precision,
        threads > 0 ? (int) threads : cores,
        params.value(CakeOptions.TENSOR_BYTES));
  }

  private static String tokenizer(CakeParams params, HadoopFileStore files, boolean text) {
    String named = params.value(CakeOptions.TOKENIZER);
    if (!named.isEmpty()) {
      return named;
    }
    String model = params.value(CakeOptions.MODEL_PATH);
    boolean needed = text || !params.value(CakeOptions.LABELS).isEmpty();
    return needed || files.exists(FileStore.in(model, "tokenizer.json")) ? model : "";
  }

  private static int[][] labels(
      CakeParams params, HadoopFileStore files, String tokenizer, int vocabulary) {
    if (tokenizer.isEmpty()) {
      return new int[0][];
    }
    String[] texts = labelTexts(params);
    int[][] labels = new int[texts.length][];
    try (Tokenizer opened = Tokenizer.named(files, tokenizer)) {
      for (int i = 0; i < labels.length; i++) {
        labels[i] = opened.encodePlain(texts[i]);
        Check.input(labels[i].length > 0, "Label '%s' has no tokens", texts[i]);
        for (int id : labels[i]) {
          Check.input(
              id < vocabulary,
              "Label '%s' has token id %d, outside the model's vocabulary of %d; use the model's"
                  + " own tokenizer",
              texts[i],
              id,
              vocabulary);
        }
      }
    }
    return labels;
  }

  static String[] labelTexts(CakeParams params) {
    String labels = params.value(CakeOptions.LABELS);
    return labels.isEmpty() ? new String[0] : labels.split("\\|", -1);
  }

  boolean cached() {
    return !cachePath.isEmpty();
  }

  BundleStore store() {
    return new BundleStore(files, cachePath, layout, bundleBytes);
  }

  /** The caller closes it; null where there is none. */
  Tokenizer openTokenizer() {
    return tokenizer.isEmpty() ? null : Tokenizer.named(files, tokenizer);
  }

  PromptReader reader(Tokenizer opened) {
    return new PromptReader(opened, vocabulary, maxTokens);
  }
}
