package org.mixedgpu.device;

import org.mixedgpu.base.Check;

/** NVIDIA's version of a GPU's instruction set, such as 9.0. */
public record ComputeCapability(int major, int minor) implements Comparable<ComputeCapability> {
  /** Reads {@code 9.0}. */
  public static ComputeCapability parse(String text) {
    Check.input(
        text.strip().matches("\\d{1,3}\\.\\d{1,2}"),
        "Compute capability '%s' can't be read; it looks like 9.0",
        text);
    String[] parts = text.strip().split("\\.");
    return new ComputeCapability(Integer.parseInt(parts[0]), Integer.parseInt(parts[1]));
  }

  @Override
  public int compareTo(ComputeCapability other) {
    return major != other.major
        ? Integer.compare(major, other.major)
        : Integer.compare(minor, other.minor);
  }

  @Override
  public String toString() {
    return major + "." + minor;
  }
}
