package org.mixedgpu.cake.spark;

import static org.mixedgpu.cake.spark.CakeOption.choice;
import static org.mixedgpu.cake.spark.CakeOption.flag;
import static org.mixedgpu.cake.spark.CakeOption.number;
import static org.mixedgpu.cake.spark.CakeOption.real;
import static org.mixedgpu.cake.spark.CakeOption.text;

import java.util.List;

/** All options of a prefill. */
public final class CakeOptions {
  private CakeOptions() {}

  public static final CakeOption<String> MODEL_PATH =
      text(
          "modelPath",
          "",
          "hdfs:///models/mine",
          "Hugging Face model folder with config.json and safetensors, on a file system that driver"
              + " and executors share.");

  public static final CakeOption<String> CACHE_PATH =
      text(
          "cachePath",
          "",
          "hdfs:///cache/kv",
          "Folder of the KV cache, shared by all models; empty for none: then nothing is loaded"
              + " or written, and sharing happens in memory only.");

  public static final CakeOption<String> INPUT_COL =
      text(
          "inputCol",
          "prompt",
          "body",
          "Column of text, or of token ids as array of int or bigint.");

  public static final CakeOption<String> OUTPUT_COL =
      text("outputCol", "prefill", "answer", "Name of the struct column that is added.");

  public static final CakeOption<String> TOKENIZER =
      text(
          "tokenizer",
          "",
          "byte",
          "Tokenizer: a folder with tokenizer.json, or byte; empty for the model folder's.");

  public static final CakeOption<String> MODE =
      choice(
          "mode",
          "Where KV comes from: cake computes from the front while stored chunks are loaded from"
              + " the back, compute loads nothing, load computes only what is not stored. All give"
              + " the same bits.",
          "cake",
          "compute",
          "load");

  public static final CakeOption<String> WRITE_POLICY =
      choice(
          "writePolicy",
          "Which computed chunks are written to the cache: shared, those that more than one prompt"
              + " of this Dataset has; all; or none.",
          "shared",
          "all",
          "none");

  public static final CakeOption<Long> CHUNK_TOKENS =
      number(
          "chunkTokens",
          "tokens",
          128,
          1,
          65536,
          "256",
          "Tokens of one chunk of KV cache: the unit of keys, loads and computation. Part of every"
              + " key: another value finds nothing of what was written before.");

  public static final CakeOption<Long> MAX_PROMPT_TOKENS =
      number(
          "maxPromptTokens",
          "tokens",
          2048,
          1,
          1 << 24,
          "8192",
          "Longest prompt, at most what the model was made for; a longer one gets the status"
              + " BAD_INPUT. A task's KV cache on the device has room for as many tokens.");

  public static final CakeOption<Long> TOP_K =
      number("topK", "tokens", 5, 0, 1000, "1", "How many next tokens are given, likeliest first.");

  public static final CakeOption<String> LABELS =
      text(
          "labels",
          "",
          "yes|no",
          "Texts whose log-probability as the prompt's continuation is given, separated by |; a"
              + " label of several tokens scores their sum.");

  public static final CakeOption<Boolean> EMBEDDING =
      flag("embedding", "Whether the last token's hidden state after the final norm is given.");

  public static final CakeOption<Double> IO_BYTES_PER_SECOND =
      real(
          "ioBytesPerSecond",
          "bytes per second",
          0,
          "1e9",
          "For experiments: a task's loads take at least as long as over a link of this speed; 0"
              + " for no limit.");

  public static final CakeOption<Long> READS_IN_FLIGHT =
      number(
          "readsInFlight",
          "chunks",
          4,
          1,
          64,
          "8",
          "Chunks that a task reads at one time, each with a host buffer of a chunk's size.");

  public static final CakeOption<Long> THREADS =
      number(
          "threads",
          "threads",
          0,
          0,
          1024,
          "8",
          "Compute threads of the CPU backend, which all tasks of an executor share; 0 for its"
              + " cores.");

  public static final CakeOption<Long> TASKS =
      number(
          "tasks",
          "tasks",
          0,
          0,
          1 << 20,
          "16",
          "Most tasks the plan may use; 0 for Spark's default parallelism. More tasks repeat more"
              + " shared prefixes.");

  public static final CakeOption<Long> BUNDLE_BYTES =
      number(
          "bundleBytes",
          "bytes",
          128L << 20,
          1,
          4L << 30,
          "268435456",
          "A bundle file that has reached this size is published and the next begun.");

  public static final CakeOption<Long> TENSOR_BYTES =
      number(
          "tensorBytes",
          "bytes",
          0,
          0,
          Long.MAX_VALUE,
          "8589934592",
          "Most memory of an executor's model, KV caches and temporary tensors together; 0 for what"
              + " there is. On the CPU it lies outside the heap, as part of"
              + " spark.executor.memoryOverhead; with cuda on the GPU.");

  public static final CakeOption<String> BACKEND =
      choice(
          "backend",
          "What computes; there is no fallback. With cuda a task uses the GPU that Spark gave it,"
              + " or, where it asked for none, the first that CUDA sees.",
          "cpu",
          "cuda");

  public static final CakeOption<String> PRECISION =
      choice(
          "precision",
          "Type that is computed in and that KV is stored in, so part of every key; auto is fp32 on"
              + " the CPU and bf16 with cuda. GPUs before compute capability 8.0 need fp16 or"
              + " fp32.",
          "auto",
          "fp32",
          "fp16",
          "bf16");

  /** In the order of the documentation. */
  public static final List<CakeOption<?>> ALL =
      List.of(
          MODEL_PATH,
          CACHE_PATH,
          INPUT_COL,
          OUTPUT_COL,
          TOKENIZER,
          MODE,
          WRITE_POLICY,
          CHUNK_TOKENS,
          MAX_PROMPT_TOKENS,
          TOP_K,
          LABELS,
          EMBEDDING,
          TASKS,
          THREADS,
          TENSOR_BYTES,
          READS_IN_FLIGHT,
          BUNDLE_BYTES,
          IO_BYTES_PER_SECOND,
          BACKEND,
          PRECISION);
}
