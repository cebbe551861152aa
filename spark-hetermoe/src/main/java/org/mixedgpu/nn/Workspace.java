package org.mixedgpu.nn;

import java.util.HashMap;
import java.util.Map;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Temporary tensors that no result outlives, shared by all layers whose work runs in one lane, one
 * piece of work after the other. A slot grows to the largest size asked for and then stays, so that
 * steps of equal shape allocate nothing. Not thread-safe. Owns its tensors.
 */
public final class Workspace implements AutoCloseable {
  private final Backend backend;
  private final Map<String, Tensor> slots = new HashMap<>();

  public Workspace(Backend backend) {
    this.backend = backend;
  }

  /**
   * A view [rows, columns] of the slot, of the backend's compute type; contents are whatever was
   * left there.
   */
  Tensor reals(String slot, long rows, long columns) {
    return view(slot, backend.computeType(), rows, columns);
  }

  /** As above, F32 whatever the backend computes in. */
  Tensor floats(String slot, long rows, long columns) {
    return view(slot, DType.F32, rows, columns);
  }

  private Tensor view(String slot, DType type, long rows, long columns) {
    long needed = Math.multiplyExact(rows, columns);
    Tensor tensor = slots.get(slot);
    Check.that(
        tensor == null || tensor.type() == type,
        "Slot %s is used in two types, one of them %s",
        slot,
        type);
    if (tensor == null || tensor.shape().elements() < needed) {
      if (tensor != null) {
        // Queued ops may use the old memory; a backend frees it after them.
        slots.remove(slot).close();
      }
      tensor = backend.allocate(type, Shape.of(needed));
      slots.put(slot, tensor);
    }
    return tensor.rows(0, needed).view(Shape.of(rows, columns));
  }

  @Override
  public void close() {
    for (Tensor tensor : slots.values()) {
      tensor.close();
    }
    slots.clear();
  }
}
