package org.mixedgpu.hetermoe.spark;

import java.io.Serializable;
import org.apache.spark.TaskContext;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.api.java.UDF1;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.util.TaskCompletionListener;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.spark.data.CorpusWriter;
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
  private final CorpusWriter.Encoder tokenizer;
  private final int vocabulary;
  private final Deployment deployment;
  private transient RowTokens tokens;

  /**
   * @param tokenizer opened once per task
   */
  RowScores(String folder, CorpusWriter.Encoder tokenizer, int vocabulary, Deployment deployment) {
    this.folder = folder;
    this.tokenizer = tokenizer;
    this.vocabulary = vocabulary;
    this.deployment = deployment;
  }

  @Override
  public Row call(Object cell) {
    RowTokens.Result result = read(cell);
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

  /** In turns with the end of the task: another thread of it may still ask for rows. */
  private synchronized RowTokens.Result read(Object cell) {
    if (tokens == null) {
      tokens = new RowTokens(open(), vocabulary);
    }
    return tokens.of(cell);
  }

  private Tokenizer open() {
    Tokenizer opened = tokenizer.open();
    TaskContext task = TaskContext.get();
    // There is no task where the driver itself computes a row.
    if (opened != null && task != null) {
      task.addTaskCompletionListener((TaskCompletionListener) context -> close(opened));
    }
    return opened;
  }

  private synchronized void close(Tokenizer opened) {
    opened.close();
  }

  private static Row failed(int tokens, Fault fault, String message) {
    return RowFactory.create(null, null, tokens, fault.name(), message);
  }
}
