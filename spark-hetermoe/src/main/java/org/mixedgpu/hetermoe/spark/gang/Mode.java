package org.mixedgpu.hetermoe.spark.gang;

/** How a gang's members come to live at the same time. */
public enum Mode {
  /** Two jobs with a ResourceProfile each; needs dynamic allocation. */
  PROFILES,
  /** One barrier stage over executors that hold one GPU each; dynamic allocation is off. */
  BARRIER,
  /** Threads of the driver. */
  LOCAL
}
