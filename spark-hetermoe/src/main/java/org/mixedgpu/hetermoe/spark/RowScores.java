package org.mixedgpu.hetermoe.spark;

import java.io.Serializable;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.api.java.UDF1;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.spark.data.RowTokens;
import org.mixedgpu.nn.tokenizer.Tokenizer;

/**
 * Scores one value of a column of text or token ids. A row that can't be scored says so; a model
 * that can't be loaded fails the task.
 */
final class RowScores implements UDF1<Object, Row>, Serializable {
  private static final long serialVersionUID = 1L;

  static final StructType SCHEMA =
      new StructType()
          .add("meanLogLikelihood", DataTypes.DoubleType)
          .add("perplexity", DataTypes.DoubleType)
          .add("tokens", DataTypes.IntegerType, false)
          .add("status", DataTypes.StringType, false)
          .add("error", DataTypes.StringType);

  private final String folder;
  private final String tokenizerName;
  private final int vocabulary;
  private final Deployment deployment;
  private transient RowTokens tokens;

  /**
   * @param tokenizerName {@code byte} or a folder; empty for a column of token ids
   */
  RowScores(String folder, String tokenizerName, int vocabulary, Deployment deployment) {
    this.folder = folder;
    this.tokenizerName = tokenizerName;
    this.vocabulary = vocabulary;
    this.deployment = deployment;
  }

  @Override
  public Row call(Object cell) {
    if (tokens == null) {
      tokens =
          new RowTokens(
              tokenizerName.isEmpty()
                  ? text -> new int[0]
                  : Tokenizer.named(deployment.store(), tokenizerName)::encode,
              vocabulary);
    }
    RowTokens.Result result = tokens.of(cell);
    int[] ids = result.ids();
    if (!result.problem().isEmpty()) {
      return failed(0, Fault.BAD_INPUT, "No tokens to score: " + result.problem());
    }
    try {
      double mean = LoadedModel.with(folder, deployment, s -> s.meanLogLikelihood(ids));
      return RowFactory.create(mean, Math.exp(-mean), ids.length - 1, "OK", null);
    } catch (MixedGpuException e) {
      if (e.fault() != Fault.BAD_INPUT) {
        throw e;
      }
      return failed(ids.length, e.fault(), e.getMessage());
    }
  }

  private static Row failed(int tokens, Fault fault, String message) {
    return RowFactory.create(null, null, tokens, fault.name(), message);
  }
}
