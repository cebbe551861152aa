package org.mixedgpu.nn.checkpoint;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.ParameterNames;
import org.mixedgpu.nn.ParameterShapes;
import org.mixedgpu.nn.Part;
import org.mixedgpu.tensor.Shape;

/**
 * A tensor of a Hugging Face folder and where it lies in memory. On disk every expert has its own
 * matrices; transformers 5 stacks them in memory too, but writes them one by one as before.
 *
 * @param name on disk
 * @param shape on disk
 * @param parameter name in memory
 * @param firstElement where it starts in that parameter
 */
record DiskTensor(String name, Shape shape, String parameter, long firstElement) {
  private static final String EXPERTS = ".mlp.experts.";

  /** All tensors of a part of a model, in the order of its parameters. */
  static List<DiskTensor> of(ModelConfig config, Part part) {
    List<DiskTensor> tensors = new ArrayList<>();
    for (Map.Entry<String, Shape> entry : ParameterShapes.of(config, part).entrySet()) {
      String name = entry.getKey();
      Shape shape = entry.getValue();
      if (!name.contains(EXPERTS)) {
        tensors.add(new DiskTensor(nameOnDisk(config.family(), name), shape, name, 0));
        continue;
      }
      int layer = Integer.parseInt(name.split("\\.")[2]);
      String projection = name.substring(name.lastIndexOf('.') + 1);
      int[] ids = part.experts(config, layer);
      Shape one = Shape.of(shape.dim(1), shape.dim(2));
      for (int i = 0; i < ids.length; i++) {
        tensors.add(
            new DiskTensor(
                expertOnDisk(config.family(), layer, ids[i], projection),
                one,
                name,
                i * one.elements()));
      }
    }
    return tensors;
  }

  private static String nameOnDisk(ModelFamily family, String name) {
    return family == ModelFamily.MIXTRAL
        ? name.replace(".mlp.gate.weight", ".block_sparse_moe.gate.weight")
        : name;
  }

  private static String expertOnDisk(ModelFamily family, int layer, int expert, String projection) {
    if (family != ModelFamily.MIXTRAL) {
      return ParameterNames.expert(layer, expert, projection);
    }
    String matrix =
        switch (projection) {
          case "gate_proj" -> "w1";
          case "up_proj" -> "w3";
          case "down_proj" -> "w2";
          default -> throw new IllegalStateException("No projection " + projection);
        };
    return ParameterNames.layer(
        layer, "block_sparse_moe.experts." + expert + "." + matrix + ".weight");
  }
}
