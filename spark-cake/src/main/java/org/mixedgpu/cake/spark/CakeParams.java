package org.mixedgpu.cake.spark;

import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.spark.ml.Transformer;
import org.apache.spark.ml.param.BooleanParam;
import org.apache.spark.ml.param.DoubleParam;
import org.apache.spark.ml.param.LongParam;
import org.apache.spark.ml.param.Param;
import org.mixedgpu.base.Check;

/**
 * The params of {@link CakePrefill}, one per {@link CakeOptions option}: MLlib finds a param by a
 * public method without arguments that returns it. What each means is said once, in the options,
 * and printed by {@code explainParams()}.
 */
public abstract sealed class CakeParams extends Transformer permits CakePrefill {
  private static final long serialVersionUID = 1L;

  private final String uid;
  private final Map<String, Param<?>> params = new LinkedHashMap<>();

  CakeParams(String uid) {
    this.uid = uid;
    CakeOptions.ALL.forEach(this::declare);
  }

  @Override
  public String uid() {
    return uid;
  }

  private <T> void declare(CakeOption<T> option) {
    T byDefault = option.byDefault();
    // A value out of range is refused where it is set, in the option's own words.
    scala.Function1<Object, Object> check =
        value -> {
          option.entry().value(String.valueOf(value));
          return true;
        };
    Param<?> param;
    if (byDefault instanceof Long) {
      param = new LongParam(uid, option.name(), option.help(), check);
    } else if (byDefault instanceof Double) {
      param = new DoubleParam(uid, option.name(), option.help(), check);
    } else if (byDefault instanceof Boolean) {
      param = new BooleanParam(uid, option.name(), option.help());
    } else {
      param = new Param<String>(uid, option.name(), option.help(), text -> check.apply(text));
    }
    params.put(option.name(), param);
    setDefault(cast(param), byDefault);
  }

  /** The value of an option: what was set, or its default. */
  public <T> T value(CakeOption<T> option) {
    @SuppressWarnings("unchecked")
    T value = (T) getOrDefault(params.get(option.name()));
    return value;
  }

  /** Sets an option from text, as the command line and settings files give it. */
  public CakePrefill set(CakeOption<?> option, String text) {
    return put(option, option.entry().value(text));
  }

  CakePrefill put(CakeOption<?> option, Object value) {
    Check.that(params.containsKey(option.name()), "%s is not an option", option.name());
    set(cast(params.get(option.name())), value);
    return (CakePrefill) this;
  }

  @SuppressWarnings("unchecked")
  private static Param<Object> cast(Param<?> param) {
    return (Param<Object>) param;
  }

  @SuppressWarnings("unchecked")
  private <P extends Param<?>> P param(CakeOption<?> option) {
    return (P) params.get(option.name());
  }

  public Param<String> modelPath() {
    return param(CakeOptions.MODEL_PATH);
  }

  public CakePrefill setModelPath(String value) {
    return put(CakeOptions.MODEL_PATH, value);
  }

  public Param<String> cachePath() {
    return param(CakeOptions.CACHE_PATH);
  }

  public CakePrefill setCachePath(String value) {
    return put(CakeOptions.CACHE_PATH, value);
  }

  public Param<String> inputCol() {
    return param(CakeOptions.INPUT_COL);
  }

  public CakePrefill setInputCol(String value) {
    return put(CakeOptions.INPUT_COL, value);
  }

  public Param<String> outputCol() {
    return param(CakeOptions.OUTPUT_COL);
  }

  public CakePrefill setOutputCol(String value) {
    return put(CakeOptions.OUTPUT_COL, value);
  }

  public Param<String> tokenizer() {
    return param(CakeOptions.TOKENIZER);
  }

  public CakePrefill setTokenizer(String value) {
    return put(CakeOptions.TOKENIZER, value);
  }

  public Param<String> mode() {
    return param(CakeOptions.MODE);
  }

  public CakePrefill setMode(String value) {
    return put(CakeOptions.MODE, value);
  }

  public Param<String> writePolicy() {
    return param(CakeOptions.WRITE_POLICY);
  }

  public CakePrefill setWritePolicy(String value) {
    return put(CakeOptions.WRITE_POLICY, value);
  }

  public LongParam chunkTokens() {
    return param(CakeOptions.CHUNK_TOKENS);
  }

  public CakePrefill setChunkTokens(long value) {
    return put(CakeOptions.CHUNK_TOKENS, value);
  }

  public LongParam maxPromptTokens() {
    return param(CakeOptions.MAX_PROMPT_TOKENS);
  }

  public CakePrefill setMaxPromptTokens(long value) {
    return put(CakeOptions.MAX_PROMPT_TOKENS, value);
  }

  public LongParam topK() {
    return param(CakeOptions.TOP_K);
  }

  public CakePrefill setTopK(long value) {
    return put(CakeOptions.TOP_K, value);
  }

  public Param<String> labels() {
    return param(CakeOptions.LABELS);
  }

  /** Labels must not contain the separator {@code |}. */
  public CakePrefill setLabels(String... values) {
    for (String value : values) {
      Check.input(
          !value.isEmpty() && !value.contains("|"),
          "A label must have text, and no |, which separates labels; found '%s'",
          value);
    }
    return put(CakeOptions.LABELS, String.join("|", values));
  }

  public BooleanParam embedding() {
    return param(CakeOptions.EMBEDDING);
  }

  public CakePrefill setEmbedding(boolean value) {
    return put(CakeOptions.EMBEDDING, value);
  }

  public LongParam tasks() {
    return param(CakeOptions.TASKS);
  }

  public CakePrefill setTasks(long value) {
    return put(CakeOptions.TASKS, value);
  }

  public LongParam threads() {
    return param(CakeOptions.THREADS);
  }

  public CakePrefill setThreads(long value) {
    return put(CakeOptions.THREADS, value);
  }

  public LongParam tensorBytes() {
    return param(CakeOptions.TENSOR_BYTES);
  }

  public CakePrefill setTensorBytes(long value) {
    return put(CakeOptions.TENSOR_BYTES, value);
  }

  public LongParam readsInFlight() {
    return param(CakeOptions.READS_IN_FLIGHT);
  }

  public CakePrefill setReadsInFlight(long value) {
    return put(CakeOptions.READS_IN_FLIGHT, value);
  }

  public LongParam bundleBytes() {
    return param(CakeOptions.BUNDLE_BYTES);
  }

  public CakePrefill setBundleBytes(long value) {
    return put(CakeOptions.BUNDLE_BYTES, value);
  }

  public DoubleParam ioBytesPerSecond() {
    return param(CakeOptions.IO_BYTES_PER_SECOND);
  }

  public CakePrefill setIoBytesPerSecond(double value) {
    return put(CakeOptions.IO_BYTES_PER_SECOND, value);
  }

  public Param<String> backend() {
    return param(CakeOptions.BACKEND);
  }

  public CakePrefill setBackend(String value) {
    return put(CakeOptions.BACKEND, value);
  }

  public Param<String> precision() {
    return param(CakeOptions.PRECISION);
  }

  public CakePrefill setPrecision(String value) {
    return put(CakeOptions.PRECISION, value);
  }
}
