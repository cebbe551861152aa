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
  private final Map<String, Slot> slots = new HashMap<>();

  /**
   * @param view of the memory, as it was asked for last
   */
  private record Slot(Tensor memory, Tensor view) {
    boolean isSeenAs(long rows, long columns) {
      return view.shape().dim(0) == rows && view.shape().dim(1) == columns;
    }
  }

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

  private Tensor view(String name, DType type, long rows, long columns) {
    Slot slot = slots.get(name);
    if (slot != null && slot.memory.type() != type) {
      throw Check.bug("Slot %s is used in two types, one of them %s", name, type);
    }
    if (slot == null || !slot.isSeenAs(rows, columns)) {
      long needed = Math.multiplyExact(rows, columns);
      Tensor memory = memory(name, slot, type, needed);
      slot = new Slot(memory, memory.rows(0, needed).view(Shape.of(rows, columns)));
      slots.put(name, slot);
    }
    return slot.view;
  }

  private Tensor memory(String name, Slot slot, DType type, long needed) {
    if (slot != null && slot.memory.shape().elements() >= needed) {
      return slot.memory;
    }
    if (slot != null) {
      // Queued ops may use the old memory; a backend frees it after them.
      slots.remove(name);
      slot.memory.close();
    }
    return backend.allocate(type, Shape.of(needed));
  }

  @Override
  public void close() {
    slots.values().forEach(slot -> slot.memory.close());
    slots.clear();
  }
}
