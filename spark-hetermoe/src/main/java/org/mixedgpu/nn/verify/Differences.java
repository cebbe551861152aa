package org.mixedgpu.nn.verify;

/** The largest absolute difference so far. A NaN on either side stays. */
final class Differences {
  private double largest;

  void add(float ours, float theirs) {
    // Equal infinities, such as masked logits, do not differ.
    double difference = ours == theirs ? 0 : Math.abs((double) ours - theirs);
    if (!(difference <= largest) && !Double.isNaN(largest)) {
      largest = difference;
    }
  }

  double largest() {
    return largest;
  }
}
