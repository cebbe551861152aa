package org.mixedgpu.cake.spark;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.mixedgpu.base.Fault;
import org.mixedgpu.cake.prefill.LogProbabilities;
import org.mixedgpu.cake.prefill.PrefillResult;
import org.mixedgpu.nn.tokenizer.Tokenizer;
import scala.jdk.javaapi.CollectionConverters;

/** The struct that a prefill adds to a row. */
final class PrefillRows {
  /** All is well. */
  static final String OK = "OK";

  /** The answer is right, but stored chunks could not be loaded and were computed. */
  static final String RECOMPUTED = "RECOMPUTED";

  /** The model gives no numbers for this prompt in this precision. */
  static final String NOT_FINITE = "NOT_FINITE";

  private static final StructType CANDIDATE =
      new StructType()
          .add("tokenId", DataTypes.IntegerType, false)
          .add("logProbability", DataTypes.DoubleType, false);

  static final StructType SCHEMA =
      new StructType()
          .add("tokenId", DataTypes.IntegerType)
          .add("token", DataTypes.StringType)
          .add("logProbability", DataTypes.DoubleType)
          .add("topK", DataTypes.createArrayType(CANDIDATE, false))
          .add("labelScores", DataTypes.createArrayType(DataTypes.DoubleType, false))
          .add("embedding", DataTypes.createArrayType(DataTypes.FloatType, false))
          .add("tokens", DataTypes.IntegerType)
          .add("computedTokens", DataTypes.IntegerType)
          .add("loadedTokens", DataTypes.IntegerType)
          .add("reusedTokens", DataTypes.IntegerType)
          .add("ttftMs", DataTypes.DoubleType)
          .add("device", DataTypes.StringType, false)
          .add("status", DataTypes.StringType, false)
          .add("error", DataTypes.StringType);

  private final PrefillFacts facts;
  private final Tokenizer tokenizer;
  private final String device;

  /**
   * @param tokenizer for the next token's text; may be null
   */
  PrefillRows(PrefillFacts facts, Tokenizer tokenizer, String device) {
    this.facts = facts;
    this.tokenizer = tokenizer;
    this.device = device;
  }

  Row failed(Fault fault, String message) {
    return failed(fault.name(), message);
  }

  Row notFinite() {
    return failed(
        NOT_FINITE,
        String.format(
            "Logits are not finite in %s: the model's activations are beyond its range, or its"
                + " weights are not finite; use bf16 or fp32, or another model",
            facts.backend().precision().word()));
  }

  private Row failed(String status, String message) {
    return RowFactory.create(
        null, null, null, null, null, null, null, null, null, null, null, device, status, message);
  }

  /** Empty where the answer is not made of numbers. */
  Optional<Row> answered(PrefillResult result, double[] scores) {
    float[] logits = result.logits();
    double normalizer = LogProbabilities.normalizer(logits);
    if (!Double.isFinite(normalizer) || Arrays.stream(scores).anyMatch(Double::isNaN)) {
      return Optional.empty();
    }
    int[] top = LogProbabilities.top(logits, Math.max(1, facts.topK()));
    List<Row> candidates = new ArrayList<>();
    for (int i = 0; i < Math.min(facts.topK(), top.length); i++) {
      candidates.add(RowFactory.create(top[i], logits[top[i]] - normalizer));
    }
    List<Double> labels = new ArrayList<>();
    for (double score : scores) {
      labels.add(score);
    }
    boolean whole = result.problems().isEmpty();
    return Optional.of(
        RowFactory.create(
            top[0],
            text(top[0]),
            logits[top[0]] - normalizer,
            sequence(candidates),
            sequence(labels),
            facts.embedding() ? embedding(result.hidden()) : null,
            result.tokens(),
            result.computed(),
            result.loaded(),
            result.reused(),
            result.ttftNanos() / 1e6,
            device,
            whole ? OK : RECOMPUTED,
            whole ? null : String.join("; ", result.problems())));
  }

  /** Null for ids that a model's padded vocabulary has and its tokenizer has not. */
  private String text(int id) {
    return tokenizer == null || id >= tokenizer.vocab() ? null : tokenizer.continuation(id);
  }

  private static Object embedding(float[] hidden) {
    List<Float> values = new ArrayList<>(hidden.length);
    for (float x : hidden) {
      values.add(x);
    }
    return sequence(values);
  }

  private static Object sequence(List<?> values) {
    return CollectionConverters.asScala(values).toSeq();
  }
}
