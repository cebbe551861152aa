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
 * Named tensors of a part of a model on one backend: its weights, or their gradients, or an
 * optimizer's moments. Names are those of {@link ParameterNames}; the experts of a layer that are
 * included lie in one tensor per projection, in ascending order of their ids. Owns its tensors.
 *
 * <p>Weights that are trained exist twice where the backend does not compute in F32: an F32 master,
 * which small updates add up in, and a working copy of the compute type, which layers use. Weights
 * for inference are working copies alone; gradients and moments are F32 alone. The gains of norms
 * exist once, in F32: they start at 1, where BF16 rounds all that the first steps of training add
 * away, the same way in every channel.
 */
public final class Parameters implements AutoCloseable {

  /**
   * One parameter.
   *
   * @param tensor what layers use; of gradients and moments, the F32 values
   * @param master F32: the same object as tensor where there is one copy in F32; null where the
   *     weights are for inference in another type
   */
  public record Entry(String name, Tensor tensor, Tensor master) {
    /** The most exact copy: the master where there is one. */
    public Tensor exact() {
      return master == null ? tensor : master;
    }

    private void close() {
      tensor.close();
      if (master != null && master != tensor) {
        master.close();
      }
    }
  }

  private enum Copies {
    MASTER_AND_WORKING,
    WORKING,
    F32
  }

  private final Backend backend;
  private final ModelConfig config;
  private final Part part;
  private final Map<String, Entry> entries = new LinkedHashMap<>();

  private Parameters(Backend backend, ModelConfig config, Part part) {
    this.backend = backend;
    this.config = config;
    this.part = part;
  }

  /** Zeroed weights that can be trained. */
  public static Parameters allocate(Backend backend, ModelConfig config, Part part) {
    return allocate(backend, config, part, Copies.MASTER_AND_WORKING);
  }

  /** Zeroed weights in the compute type alone, gains of norms in F32. */
  public static Parameters forInference(Backend backend, ModelConfig config, Part part) {
    return allocate(backend, config, part, Copies.WORKING);
  }

  /** A zeroed F32 twin on the same backend: gradients, or moments of an optimizer. */
  public static Parameters like(Parameters other) {
    return allocate(other.backend, other.config, other.part, Copies.F32);
  }

  private static Parameters allocate(
      Backend backend, ModelConfig config, Part part, Copies copies) {
    Parameters parameters = new Parameters(backend, config, part);
    try {
      ParameterShapes.of(config, part)
          .forEach((name, shape) -> parameters.add(name, shape, copies));
    } catch (RuntimeException e) {
      parameters.close();
      throw e;
    }
    return parameters;
  }

  private void add(String name, Shape shape, Copies copies) {
    boolean wide = copies == Copies.F32 || backend.computeType() == DType.F32;
    if (wide || ParameterNames.isGain(name)) {
      Tensor only = backend.allocate(DType.F32, shape);
      boolean trained = wide || copies == Copies.MASTER_AND_WORKING;
      entries.put(name, new Entry(name, only, trained ? only : null));
      return;
    }
    Tensor working = backend.allocate(backend.computeType(), shape);
    entries.put(name, new Entry(name, working, null));
    if (copies == Copies.MASTER_AND_WORKING) {
      entries.put(name, new Entry(name, working, backend.allocate(DType.F32, shape)));
    }
  }

  /**
   * Weights and routers from a normal distribution with the config's initializer range, cut at
   * three standard deviations; norms 1, biases 0. Every tensor of the checkpoint, each expert's
   * too, has its own random stream from (seed, name), so that every partition gets the same values.
   */
  public void initialize(long seed) {
    long largest =
        entries.values().stream()
            .mapToLong(entry -> entry.tensor().shape().elements())
            .max()
            .orElse(0);
    Initializer initializer = new Initializer(backend, config, part, seed, largest);
    for (Entry entry : entries.values()) {
      initializer.initialize(entry.name(), master(entry.name()));
    }
    refresh();
  }

  /** Makes the working copies what the masters are, rounded. Queues work only. */
  public void refresh() {
    for (Entry entry : entries.values()) {
      if (entry.master() != null && entry.master() != entry.tensor()) {
        backend.copy(entry.tensor(), entry.master());
      }
    }
  }

  /** Multiplies gradients; 1 changes nothing. Queues work only. */
  public void scale(float factor) {
    if (factor == 1) {
      return;
    }
    for (Entry entry : entries.values()) {
      backend.scale(entry.tensor(), factor);
    }
  }

  /** Zeroes a gradient. Queues work only. */
  void zero(String name) {
    backend.fill(tensor(name), 0);
  }

  /** What layers use of this parameter; {@code BAD_INPUT} where this part has none. */
  public Tensor tensor(String name) {
    return entry(name).tensor();
  }

  /** The F32 values of this parameter; {@code BAD_INPUT} where it was opened for inference. */
  public Tensor master(String name) {
    Tensor master = entry(name).master();
    if (master == null) {
      throw Check.badInput(
          "Parameter %s was opened for inference in %s and has no F32 master to change; allocate the"
              + " parameters for training",
          name, backend.computeType());
    }
    return master;
  }

  /** The most exact copy of this parameter: its master where there is one. */
  public Tensor exact(String name) {
    return entry(name).exact();
  }

  private Entry entry(String name) {
    Entry entry = entries.get(name);
    if (entry == null) {
      throw Check.badInput(
          "No parameter %s in this part of a %s model of %d layers",
          name, config.family(), config.layers());
    }
    return entry;
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
    entries.values().forEach(Entry::close);
  }
}
