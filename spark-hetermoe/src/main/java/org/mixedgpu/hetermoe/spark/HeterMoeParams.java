package org.mixedgpu.hetermoe.spark;

import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.spark.ml.Estimator;
import org.apache.spark.ml.param.DoubleParam;
import org.apache.spark.ml.param.LongParam;
import org.apache.spark.ml.param.Param;
import org.mixedgpu.base.Check;

/**
 * The params of {@link HeterMoe}, one per {@link TrainOptions option}: MLlib finds a param by a
 * public method without arguments that returns it. What each means is said once, in the options,
 * and printed by {@code explainParams()}.
 */
public abstract sealed class HeterMoeParams extends Estimator<HeterMoeModel> permits HeterMoe {
  private static final long serialVersionUID = 1L;

  private final String uid;
  private final Map<String, Param<?>> params = new LinkedHashMap<>();

  HeterMoeParams(String uid) {
    this.uid = uid;
    for (TrainOption<?> option : TrainOptions.ALL) {
      declare(option);
    }
  }

  @Override
  public String uid() {
    return uid;
  }

  private <T> void declare(TrainOption<T> option) {
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
    } else {
      param = new Param<String>(uid, option.name(), option.help(), text -> check.apply(text));
    }
    params.put(option.name(), param);
    setDefault(cast(param), byDefault);
  }

  /** The value of an option: what was set, or its default. */
  public <T> T value(TrainOption<T> option) {
    @SuppressWarnings("unchecked")
    T value = (T) getOrDefault(params.get(option.name()));
    return value;
  }

  /** Sets an option from text, as the command line and settings files give it. */
  public HeterMoe set(TrainOption<?> option, String text) {
    return put(option, option.entry().value(text));
  }

  HeterMoe put(TrainOption<?> option, Object value) {
    Check.that(params.containsKey(option.name()), "%s is not an option", option.name());
    set(cast(params.get(option.name())), value);
    return (HeterMoe) this;
  }

  @SuppressWarnings("unchecked")
  private static Param<Object> cast(Param<?> param) {
    return (Param<Object>) param;
  }

  private LongParam whole(TrainOption<Long> option) {
    return (LongParam) params.get(option.name());
  }

  private DoubleParam real(TrainOption<Double> option) {
    return (DoubleParam) params.get(option.name());
  }

  @SuppressWarnings("unchecked")
  private Param<String> text(TrainOption<String> option) {
    return (Param<String>) params.get(option.name());
  }

  public Param<String> textCol() {
    return text(TrainOptions.TEXT_COL);
  }

  public HeterMoe setTextCol(String value) {
    return put(TrainOptions.TEXT_COL, value);
  }

  public Param<String> tokensCol() {
    return text(TrainOptions.TOKENS_COL);
  }

  public HeterMoe setTokensCol(String value) {
    return put(TrainOptions.TOKENS_COL, value);
  }

  public LongParam sequenceLength() {
    return whole(TrainOptions.SEQUENCE_LENGTH);
  }

  public HeterMoe setSequenceLength(long value) {
    return put(TrainOptions.SEQUENCE_LENGTH, value);
  }

  public Param<String> model() {
    return text(TrainOptions.MODEL);
  }

  public HeterMoe setModel(String value) {
    return put(TrainOptions.MODEL, value);
  }

  public Param<String> tokenizer() {
    return text(TrainOptions.TOKENIZER);
  }

  public HeterMoe setTokenizer(String value) {
    return put(TrainOptions.TOKENIZER, value);
  }

  public LongParam batchSize() {
    return whole(TrainOptions.BATCH_SIZE);
  }

  public HeterMoe setBatchSize(long value) {
    return put(TrainOptions.BATCH_SIZE, value);
  }

  public LongParam microBatches() {
    return whole(TrainOptions.MICRO_BATCHES);
  }

  public HeterMoe setMicroBatches(long value) {
    return put(TrainOptions.MICRO_BATCHES, value);
  }

  public LongParam attentionExecutors() {
    return whole(TrainOptions.ATTENTION_EXECUTORS);
  }

  public HeterMoe setAttentionExecutors(long value) {
    return put(TrainOptions.ATTENTION_EXECUTORS, value);
  }

  public LongParam expertExecutors() {
    return whole(TrainOptions.EXPERT_EXECUTORS);
  }

  public HeterMoe setExpertExecutors(long value) {
    return put(TrainOptions.EXPERT_EXECUTORS, value);
  }

  public Param<String> attentionResource() {
    return text(TrainOptions.ATTENTION_RESOURCE);
  }

  public HeterMoe setAttentionResource(String value) {
    return put(TrainOptions.ATTENTION_RESOURCE, value);
  }

  public Param<String> expertResource() {
    return text(TrainOptions.EXPERT_RESOURCE);
  }

  public HeterMoe setExpertResource(String value) {
    return put(TrainOptions.EXPERT_RESOURCE, value);
  }

  public Param<String> emulate() {
    return text(TrainOptions.EMULATE);
  }

  public HeterMoe setEmulate(String value) {
    return put(TrainOptions.EMULATE, value);
  }

  public Param<String> backend() {
    return text(TrainOptions.BACKEND);
  }

  public HeterMoe setBackend(String value) {
    return put(TrainOptions.BACKEND, value);
  }

  public Param<String> precision() {
    return text(TrainOptions.PRECISION);
  }

  public HeterMoe setPrecision(String value) {
    return put(TrainOptions.PRECISION, value);
  }

  public LongParam threads() {
    return whole(TrainOptions.THREADS);
  }

  public HeterMoe setThreads(long value) {
    return put(TrainOptions.THREADS, value);
  }

  public LongParam tensorBytes() {
    return whole(TrainOptions.TENSOR_BYTES);
  }

  public HeterMoe setTensorBytes(long value) {
    return put(TrainOptions.TENSOR_BYTES, value);
  }

  public LongParam steps() {
    return whole(TrainOptions.STEPS);
  }

  public HeterMoe setSteps(long value) {
    return put(TrainOptions.STEPS, value);
  }

  public DoubleParam learningRate() {
    return real(TrainOptions.LEARNING_RATE);
  }

  public HeterMoe setLearningRate(double value) {
    return put(TrainOptions.LEARNING_RATE, value);
  }

  public LongParam warmupSteps() {
    return whole(TrainOptions.WARMUP_STEPS);
  }

  public HeterMoe setWarmupSteps(long value) {
    return put(TrainOptions.WARMUP_STEPS, value);
  }

  public Param<String> schedule() {
    return text(TrainOptions.SCHEDULE);
  }

  public HeterMoe setSchedule(String value) {
    return put(TrainOptions.SCHEDULE, value);
  }

  public DoubleParam beta1() {
    return real(TrainOptions.BETA1);
  }

  public HeterMoe setBeta1(double value) {
    return put(TrainOptions.BETA1, value);
  }

  public DoubleParam beta2() {
    return real(TrainOptions.BETA2);
  }

  public HeterMoe setBeta2(double value) {
    return put(TrainOptions.BETA2, value);
  }

  public DoubleParam epsilon() {
    return real(TrainOptions.EPSILON);
  }

  public HeterMoe setEpsilon(double value) {
    return put(TrainOptions.EPSILON, value);
  }

  public DoubleParam weightDecay() {
    return real(TrainOptions.WEIGHT_DECAY);
  }

  public HeterMoe setWeightDecay(double value) {
    return put(TrainOptions.WEIGHT_DECAY, value);
  }

  public DoubleParam clipNorm() {
    return real(TrainOptions.CLIP_NORM);
  }

  public HeterMoe setClipNorm(double value) {
    return put(TrainOptions.CLIP_NORM, value);
  }

  public Param<String> auxLoss() {
    return text(TrainOptions.AUX_LOSS);
  }

  public HeterMoe setAuxLoss(String value) {
    return put(TrainOptions.AUX_LOSS, value);
  }

  public Param<String> auxCoefficient() {
    return text(TrainOptions.AUX_COEFFICIENT);
  }

  public HeterMoe setAuxCoefficient(String value) {
    return put(TrainOptions.AUX_COEFFICIENT, value);
  }

  public Param<String> zCoefficient() {
    return text(TrainOptions.Z_COEFFICIENT);
  }

  public HeterMoe setZCoefficient(String value) {
    return put(TrainOptions.Z_COEFFICIENT, value);
  }

  public LongParam seed() {
    return whole(TrainOptions.SEED);
  }

  public HeterMoe setSeed(long value) {
    return put(TrainOptions.SEED, value);
  }

  public Param<String> workDir() {
    return text(TrainOptions.WORK_DIR);
  }

  public HeterMoe setWorkDir(String value) {
    return put(TrainOptions.WORK_DIR, value);
  }

  public Param<String> output() {
    return text(TrainOptions.OUTPUT);
  }

  public HeterMoe setOutput(String value) {
    return put(TrainOptions.OUTPUT, value);
  }
}
