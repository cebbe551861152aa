package org.mixedgpu.nn.checkpoint;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ParameterNames;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Safetensors files into parameters, piece by piece: into the masters where there are any, else
 * straight into working copies. Memory beside the parameters is a piece on the host and, where
 * types differ, one on the device.
 */
final class WeightReading {
  private static final int NAMES_IN_MESSAGE = 10;

  private WeightReading() {}

  static void read(WeightFiles weights, String folder, Backend backend, Parameters into) {
    check(weights, folder, into.config());
    ByteBuffer piece = Pieces.buffer();
    try (Staging staging = new Staging(backend)) {
      for (DiskTensor tensor : DiskTensor.of(into.config(), into.part())) {
        WeightFiles.Located located = weights.tensors().get(tensor.name());
        Tensor parameter = into.exact(tensor.parameter());
        Tensor flat = parameter.view(Shape.of(parameter.shape().elements()));
        long elements = tensor.shape().elements();
        for (long done = 0; done < elements; ) {
          int count = (int) Math.min(Pieces.ELEMENTS, elements - done);
          read(located, done, flat.rows(tensor.firstElement() + done, count), piece, staging);
          done += count;
        }
      }
      into.refresh();
    }
  }

  /** Elements of a file's tensor from one of them on. */
  private static void read(
      WeightFiles.Located from, long first, Tensor into, ByteBuffer piece, Staging staging) {
    int count = (int) into.shape().elements();
    if (into.type() == DType.F32) {
      from.file().readFloats(from.entry(), first, piece.clear().limit(count * Float.BYTES));
      staging.backend.write(into, piece.flip());
    } else if (from.entry().type().name().equals(into.type().safetensorsName())) {
      int size = into.type().bytes();
      from.file().readBytes(from.entry(), first * size, piece.clear().limit(count * size));
      staging.backend.write(into, piece.flip());
    } else {
      from.file().readFloats(from.entry(), first, piece.clear().limit(count * Float.BYTES));
      checkFits(from, into.type(), piece.flip());
      staging.convert(into, piece);
    }
  }

  /** A finite weight must not become infinite: F16 ends at 65504. */
  private static void checkFits(WeightFiles.Located from, DType type, ByteBuffer piece) {
    if (type != DType.F16) {
      return;
    }
    for (int at = 0; at < piece.limit(); at += Float.BYTES) {
      float value = piece.getFloat(at);
      Check.input(
          Math.abs(value) < 65520 || !Float.isFinite(value),
          "%s: tensor %s has the value %s, which F16 can't hold; compute in BF16 or F32",
          from.file().path(),
          from.entry().name(),
          value);
    }
  }

  /** A piece in F32 on the device, which converts it; allocated at first use. */
  private static final class Staging implements AutoCloseable {
    private final Backend backend;
    private Tensor floats;

    Staging(Backend backend) {
      this.backend = backend;
    }

    void convert(Tensor into, ByteBuffer piece) {
      if (floats == null) {
        floats = backend.allocate(DType.F32, Shape.of(Pieces.ELEMENTS));
      }
      Tensor part = floats.rows(0, into.shape().elements());
      backend.write(part, piece);
      backend.copy(into, part);
    }

    @Override
    public void close() {
      if (floats != null) {
        // Ops that use its memory may still be queued.
        backend.synchronize();
        floats.close();
      }
    }
  }

  /** The tensors of the files must be those of the model: none missing, none left over. */
  static void check(WeightFiles weights, String folder, ModelConfig config) {
    Map<String, Shape> expected = new HashMap<>();
    List<String> missing = new ArrayList<>();
    List<String> wrong = new ArrayList<>();
    for (DiskTensor tensor : DiskTensor.of(config, Part.all())) {
      expected.put(tensor.name(), tensor.shape());
      WeightFiles.Located found = weights.tensors().get(tensor.name());
      if (found == null) {
        missing.add(tensor.name());
      } else if (!found.entry().shape().equals(tensor.shape()) || !found.entry().type().isFloat()) {
        wrong.add(
            String.format(
                "%s is %s%s instead of %s",
                tensor.name(), found.entry().type(), found.entry().shape(), tensor.shape()));
      }
    }
    List<String> unexpected = new ArrayList<>();
    for (String name : weights.tensors().keySet()) {
      if (!expected.containsKey(name) && !isRedundant(name, config)) {
        unexpected.add(name);
      }
    }
    if (!missing.isEmpty() || !wrong.isEmpty() || !unexpected.isEmpty()) {
      throw new MixedGpuException(
          Fault.BAD_INPUT,
          "The weights in "
              + folder
              + " do not fit its config of a "
              + config.family().modelType()
              + " model with "
              + config.layers()
              + " layers."
              + list("Missing", missing)
              + list("Of another shape or type", wrong)
              + list("Unexpected", unexpected));
    }
  }

  /** Tensors that older files hold although they follow from others. */
  private static boolean isRedundant(String name, ModelConfig config) {
    return name.endsWith(".self_attn.rotary_emb.inv_freq")
        || (config.tied() && name.equals(ParameterNames.LM_HEAD));
  }

  private static String list(String what, List<String> names) {
    if (names.isEmpty()) {
      return "";
    }
    int shown = Math.min(NAMES_IN_MESSAGE, names.size());
    String more = names.size() > shown ? " and " + (names.size() - shown) + " more" : "";
    return " " + what + ": " + String.join(", ", names.subList(0, shown)) + more + ".";
  }
}
