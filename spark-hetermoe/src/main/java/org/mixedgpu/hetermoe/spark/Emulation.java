package org.mixedgpu.hetermoe.spark;

import java.io.Serializable;
import org.apache.spark.SparkConf;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.spark.gang.MemberContext;

/** Which members pretend to be how much slower. */
record Emulation(boolean on) implements Serializable {
  static Emulation of(HeterMoeParams p, SparkConf conf) {
    return new Emulation(!p.value(TrainOptions.EMULATE).equals("none"));
  }

  TrainingBackend slowed(TrainingBackend backend, MemberContext member) {
    if (on) {
      backend.close();
      throw new MixedGpuException(Fault.MISSING, "Emulated generations are not merged yet");
    }
    return backend;
  }

  String summary() {
    return on ? ", speeds emulated from the GPU catalogue" : "";
  }
}
