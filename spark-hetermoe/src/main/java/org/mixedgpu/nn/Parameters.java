package org.mixedgpu.nn;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Named F32 tensors of a part of a model on one backend: its weights, or their gradients, or an
 * optimizer's moments. Names are those of {@link ParameterNames}; the experts of a layer that are
 * included lie in one tensor per projection, in ascending order of their ids. Owns its tensors.
 */
public final class Parameters implements AutoCloseable {

  /** One parameter. */
  public record Entry(String name, Tensor tensor) {}

  private final Backend backend;
  private final ModelConfig config;
  private final Part part;
  private final Map<String, Entry> entries = new LinkedHashMap<>();

  private Parameters(Backend backend, ModelConfig config, Part part) {
    this.backend = backend;
    this.config = config;
    this.part = part;
  }

  /** Zeroed parameters. */
  public static Parameters allocate(Backend backend, ModelConfig config, Part part) {
    Parameters parameters = new Parameters(backend, config, part);
    try {
      for (Map.Entry<String, Shape> shape : ParameterShapes.of(config, part).entrySet()) {
        Tensor tensor = backend.allocate(DType.F32, shape.getValue());
        parameters.entries.put(shape.getKey(), new Entry(shape.getKey(), tensor));
      }
    } catch (RuntimeException e) {
      parameters.close();
      throw e;
    }
    return parameters;
  }

  /** A zeroed twin on the same backend: gradients, or moments of an optimizer. */
  public static Parameters like(Parameters other) {
    return allocate(other.backend, other.config, other.part);
  }

  /**
   * Weights and routers from a normal distribution with the config's initializer range, cut at
   * three standard deviations; norms 1, biases 0. Every tensor of the checkpoint, each expert's
   * too, has its own random stream from (seed, name), so that every partition gets the same values.
   */
  public void initialize(long seed) {
    for (Entry entry : entries.values()) {
      Initializer.initialize(backend, config, part, entry, seed);
    }
  }

  public void zero() {
    for (Entry entry : entries.values()) {
      backend.fill(entry.tensor(), 0);
    }
  }

  /** The parameter of this name; {@code BAD_INPUT} where this part has none. */
  public Tensor tensor(String name) {
    Entry entry = entries.get(name);
    Check.input(
        entry != null,
        "No parameter %s in this part of a %s model of %d layers",
        name,
        config.family(),
        config.layers());
    return entry.tensor();
  }

  public Optional<Tensor> find(String name) {
    return Optional.ofNullable(entries.get(name)).map(Entry::tensor);
  }

  /** All parameters in a fixed order: embedding, layers, final norm, LM head. */
  public Iterable<Entry> entries() {
    return entries.values();
  }

  public int size() {
    return entries.size();
  }

  /** Elements of all parameters together. */
  public long elements() {
    return entries.values().stream().mapToLong(e -> e.tensor().shape().elements()).sum();
  }

  public ModelConfig config() {
    return config;
  }

  public Part part() {
    return part;
  }

  @Override
  public void close() {
    for (Entry entry : entries.values()) {
      entry.tensor().close();
    }
  }
}
