package org.mixedgpu.cake.spark;

import java.io.Serializable;
import org.apache.spark.SparkContext;
import org.apache.spark.util.LongAccumulator;

/** Counters that Spark's UI shows beside the stage; retried tasks count again. */
record Meters(
    LongAccumulator computed,
    LongAccumulator loaded,
    LongAccumulator reused,
    LongAccumulator badRows,
    LongAccumulator failedLoads,
    LongAccumulator writtenChunks,
    LongAccumulator writtenBytes)
    implements Serializable {

  static Meters of(SparkContext context) {
    return new Meters(
        context.longAccumulator("cake tokens computed"),
        context.longAccumulator("cake tokens loaded"),
        context.longAccumulator("cake tokens reused in memory"),
        context.longAccumulator("cake bad rows"),
        context.longAccumulator("cake chunks not loadable"),
        context.longAccumulator("cake chunks written"),
        context.longAccumulator("cake bytes written"));
  }
}
