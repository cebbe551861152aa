package org.mixedgpu.nn.verify;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.KvCache;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.nn.safetensors.Safetensors;
import org.mixedgpu.nn.safetensors.TensorEntry;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * A forward pass against a recorded one: a safetensors file with {@code input_ids} [B,T], {@code
 * logits} [B,T,V] and, for any layers L, the caches {@code k.L} (after RoPE) and {@code v.L}
 * [B,Hkv,T,D]. Reads the recorded tensors in pieces. Compares F32 numbers, whatever the backend
 * computes in.
 */
public final class ModelVerification {
  private static final int PIECE_BYTES = 1 << 20;
  private static final String MEASURE = "largest absolute difference";

  private final Backend backend;
  private final DecoderModel model;
  private final Safetensors reference;
  private final int batch;
  private final int length;
  private final Differences logits = new Differences();
  private final Differences[] keys;
  private final Differences[] values;

  private ModelVerification(Backend backend, DecoderModel model, Safetensors reference) {
    this.backend = backend;
    this.model = model;
    this.reference = reference;
    long[] dims = reference.entry("input_ids").shape().toArray();
    this.batch = (int) dims[0];
    this.length = (int) dims[1];
    this.keys = differences(model.config(), "k.");
    this.values = differences(model.config(), "v.");
  }

  /** Null for layers that were not recorded. */
  private Differences[] differences(ModelConfig config, String prefix) {
    Differences[] all = new Differences[config.layers()];
    for (int layer = 0; layer < all.length; layer++) {
      all[layer] = reference.entries().containsKey(prefix + layer) ? new Differences() : null;
    }
    return all;
  }

  /**
   * Compares and reports each thing.
   *
   * @param model folder of a Hugging Face model
   * @param reference path of the recorded tensors
   * @param tolerance on every difference
   */
  public static void run(
      FileStore files,
      String model,
      String reference,
      Backend backend,
      double tolerance,
      Consumer<Compared> report) {
    try (Safetensors recorded = Safetensors.open(files, reference)) {
      int length = check(recorded, Checkpoint.config(files, model));
      try (Parameters parameters = Checkpoint.load(files, model, backend, Part.all());
          DecoderModel decoder =
              DecoderModel.open(backend, parameters.config(), parameters, length)) {
        new ModelVerification(backend, decoder, recorded).run(tolerance, report);
      }
    }
  }

  /** The recorded tensors must be those that the class names, in the shapes of the model. */
  private static int check(Safetensors reference, ModelConfig config) {
    TensorEntry ids = reference.entry("input_ids");
    Check.input(
        ids.shape().rank() == 2 && ids.shape().elements() > 0,
        "%s: input_ids has shape %s; expected [sequences, tokens]",
        reference.path(),
        ids.shape());
    long batch = ids.shape().dim(0);
    long length = ids.shape().dim(1);
    Set<String> unknown = new TreeSet<>(reference.entries().keySet());
    unknown.removeAll(Set.of("input_ids", "train_ids"));
    unknown.remove("logits");
    expect(reference, "logits", Shape.of(batch, length, config.vocab()));
    for (int layer = 0; layer < config.layers(); layer++) {
      for (String name : new String[] {"k." + layer, "v." + layer}) {
        if (unknown.remove(name)) {
          expect(reference, name, Shape.of(batch, config.kvHeads(), length, config.headDim()));
        }
      }
    }
    Check.input(
        unknown.isEmpty(),
        "%s has tensors that can't be compared with a model of %d layers: %s; expected logits,"
            + " k.LAYER and v.LAYER",
        reference.path(),
        config.layers(),
        unknown);
    return Math.toIntExact(length);
  }

  private static void expect(Safetensors reference, String name, Shape shape) {
    Shape found = reference.entry(name).shape();
    Check.input(
        found.equals(shape),
        "%s: %s has shape %s; this model and input_ids ask for %s",
        reference.path(),
        name,
        found,
        shape);
  }

  private void run(double tolerance, Consumer<Compared> report) {
    int[] ids = reference.ints("input_ids");
    try (KvCache cache = model.cache(length);
        Tensor hidden =
            backend.allocate(backend.computeType(), Shape.of(length, model.config().hidden()))) {
      for (int sequence = 0; sequence < batch; sequence++) {
        int[] tokens = Arrays.copyOfRange(ids, sequence * length, (sequence + 1) * length);
        model.prefill(tokens, 0, length, cache, hidden);
        compareLogits(hidden, sequence);
        for (int layer = 0; layer < keys.length; layer++) {
          compareCache(keys[layer], "k." + layer, cache.keys(layer), sequence);
          compareCache(values[layer], "v." + layer, cache.values(layer), sequence);
        }
      }
    }
    report.accept(new Compared("logits", MEASURE, logits.largest(), tolerance));
    for (int layer = 0; layer < keys.length; layer++) {
      if (keys[layer] != null) {
        report.accept(new Compared("k." + layer, MEASURE, keys[layer].largest(), tolerance));
      }
      if (values[layer] != null) {
        report.accept(new Compared("v." + layer, MEASURE, values[layer].largest(), tolerance));
      }
    }
  }

  private void compareLogits(Tensor hidden, int sequence) {
    int vocab = model.config().vocab();
    int rowsAtOnce = Math.max(1, Math.min(length, PIECE_BYTES / Float.BYTES / vocab));
    TensorEntry recorded = reference.entry("logits");
    ByteBuffer theirs = buffer(rowsAtOnce * vocab);
    ByteBuffer ours = buffer(rowsAtOnce * vocab);
    try (Tensor rows = backend.allocate(DType.F32, Shape.of(rowsAtOnce, vocab))) {
      for (int first = 0; first < length; first += rowsAtOnce) {
        int count = Math.min(rowsAtOnce, length - first);
        Tensor out = rows.rows(0, count);
        model.logits(out, hidden.rows(first, count));
        backend.read(ours.clear().limit(count * vocab * Float.BYTES), out);
        theirs.clear().limit(count * vocab * Float.BYTES);
        reference.readFloats(recorded, ((long) sequence * length + first) * vocab, theirs);
        compare(logits, ours.flip(), theirs.flip());
      }
    }
  }

  /** Ours has a row of all heads for each position, theirs a block of positions for each head. */
  private void compareCache(Differences differences, String name, Tensor cache, int sequence) {
    if (differences == null) {
      return;
    }
    int heads = model.config().kvHeads();
    int dim = model.config().headDim();
    TensorEntry recorded = reference.entry(name);
    ByteBuffer ours = buffer(length * heads * dim);
    try (Tensor floats = backend.allocate(DType.F32, cache.shape())) {
      backend.copy(floats, cache);
      backend.read(ours, floats);
    }
    ByteBuffer theirs = buffer(length * dim);
    for (int head = 0; head < heads; head++) {
      long first = ((long) sequence * heads + head) * length * dim;
      reference.readFloats(recorded, first, theirs.clear());
      theirs.flip();
      for (int position = 0; position < length; position++) {
        int at = (position * heads + head) * dim;
        for (int i = 0; i < dim; i++) {
          differences.add(ours.getFloat((at + i) * Float.BYTES), theirs.getFloat());
        }
      }
    }
  }

  private static void compare(Differences differences, ByteBuffer ours, ByteBuffer theirs) {
    while (ours.hasRemaining()) {
      differences.add(ours.getFloat(), theirs.getFloat());
    }
  }

  private static ByteBuffer buffer(int floats) {
    return ByteBuffer.allocateDirect(Math.multiplyExact(floats, Float.BYTES))
        .order(ByteOrder.LITTLE_ENDIAN);
  }
}
