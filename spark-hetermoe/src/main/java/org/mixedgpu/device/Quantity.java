package org.mixedgpu.device;

import org.mixedgpu.base.Check;

/**
 * A number and where it was read.
 *
 * @param value positive, in the unit that the field's name says
 * @param source text and address
 */
public record Quantity(double value, String source) {
  public Quantity {
    Check.input(
        value > 0 && Double.isFinite(value), "A quantity must be positive; found %s", value);
  }
}
