package org.mixedgpu.hetermoe.spark;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.train.StepReport;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.NewFile;
import org.mixedgpu.io.TextFiles;

/** The steps of a run as a Dataset and as a file of JSON lines beside the model. */
final class TrainHistory {
  static final String FILE = "training.jsonl";

  static final StructType SCHEMA =
      new StructType()
          .add("step", DataTypes.LongType)
          .add("loss", DataTypes.DoubleType)
          .add("auxLoss", DataTypes.DoubleType)
          .add("gradientNorm", DataTypes.DoubleType)
          .add("learningRate", DataTypes.DoubleType)
          .add("tokens", DataTypes.LongType)
          .add("seconds", DataTypes.DoubleType)
          .add("tokensPerSecond", DataTypes.DoubleType)
          .add("attentionBusyShare", DataTypes.DoubleType)
          .add("expertBusyShare", DataTypes.DoubleType)
          .add("bytesSent", DataTypes.LongType)
          .add("lossScale", DataTypes.DoubleType)
          .add("updated", DataTypes.BooleanType);

  private static final int MAX_BYTES = 1 << 30;

  private TrainHistory() {}

  static Row row(StepReport report) {
    return RowFactory.create(
        report.step(),
        report.loss(),
        report.auxLoss(),
        report.gradientNorm(),
        report.learningRate(),
        report.tokens(),
        report.seconds(),
        report.tokensPerSecond(),
        report.attentionBusyShare(),
        report.expertBusyShare(),
        report.bytesSent(),
        report.lossScale(),
        report.updated());
  }

  static void write(FileStore store, String folder, List<StepReport> reports) {
    StringBuilder text = new StringBuilder();
    for (StepReport report : reports) {
      Row row = row(report);
      List<String> fields = new ArrayList<>();
      for (int i = 0; i < SCHEMA.length(); i++) {
        Object value = row.get(i);
        // JSON has no NaN; a loss that is one must not make the file unreadable.
        boolean missing = value instanceof Double d && !Double.isFinite(d);
        fields.add("\"" + SCHEMA.fields()[i].name() + "\":" + (missing ? "null" : value));
      }
      text.append('{').append(String.join(",", fields)).append("}\n");
    }
    try (NewFile file = store.create(FileStore.in(folder, FILE))) {
      file.write(ByteBuffer.wrap(text.toString().getBytes(StandardCharsets.UTF_8)));
      Check.input(file.publish(), "%s exists; choose a new output folder", file.path());
    }
  }

  /** Empty where the model was not trained here. */
  static Dataset<Row> read(SparkSession spark, FileStore store, String folder) {
    String path = FileStore.in(folder, FILE);
    List<String> lines = List.of();
    if (store.exists(path)) {
      lines = TextFiles.read(store, path, MAX_BYTES).lines().collect(Collectors.toList());
    }
    return spark
        .read()
        .schema(SCHEMA)
        .json(spark.createDataset(lines, Encoders.STRING()))
        .orderBy("step");
  }
}
