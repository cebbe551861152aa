package org.mixedgpu.layers;

/** Classes that break a rule each, so that each rule is seen red. */
final class Planted {
  private Planted() {}

  static final class UsesSpark {
    org.apache.spark.SparkConf conf;
  }

  static final class UsesHadoop {
    org.apache.hadoop.conf.Configuration conf;
  }

  static final class UsesJna {
    com.sun.jna.Pointer pointer;
  }

  static final class UsesJCuda {
    jcuda.driver.CUstream stream;
  }

  static final class UsesTokenizers {
    ai.djl.huggingface.tokenizers.Encoding encoding;
  }

  static final class UsesArrow {
    org.apache.arrow.memory.ArrowBuf buffer;
  }
}
