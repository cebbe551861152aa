package org.mixedgpu.hetermoe.train.verify;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.train.LearningRate;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.TextFiles;

/**
 * A {@code train.json}.
 *
 * @param auxCoefficient factor on the balancing loss of transformers; 0 for none
 * @param losses mean cross entropy of each step
 * @param auxLosses balancing loss of each step, coefficient included; empty where not recorded
 * @param gradNorms global gradient norm of each step before clipping
 * @param firstNorms norm of each gradient at the first step, by the name of transformers
 */
record RecordedTraining(
    OptimizerConfig optimizer,
    int steps,
    int batch,
    int sequence,
    double auxCoefficient,
    double[] losses,
    double[] auxLosses,
    double[] gradNorms,
    Map<String, Double> firstNorms) {
  private static final int MAX_BYTES = 1 << 26;

  static RecordedTraining read(FileStore files, String path) {
    JsonNode json;
    try {
      json = new ObjectMapper().readTree(TextFiles.read(files, path, MAX_BYTES));
    } catch (JsonProcessingException e) {
      throw new MixedGpuException(
          Fault.CORRUPT, path + " is not JSON: " + e.getOriginalMessage(), e);
    }
    only(json, path, "optimizer", "AdamW");
    only(json, path, "lr_schedule", "constant");
    JsonNode betas = json.path("betas");
    Check.input(betas.isArray() && betas.size() == 2, "%s: betas is %s", path, betas);
    OptimizerConfig optimizer =
        new OptimizerConfig(
            LearningRate.constant(number(json, path, "lr")),
            (float) betas.get(0).asDouble(),
            (float) betas.get(1).asDouble(),
            (float) number(json, path, "eps"),
            (float) number(json, path, "weight_decay"),
            number(json, path, "grad_clip_norm"));
    int steps = (int) number(json, path, "steps");
    Map<String, Double> firstNorms = new LinkedHashMap<>();
    json.path("grad_norms_step0")
        .fields()
        .forEachRemaining(field -> firstNorms.put(field.getKey(), field.getValue().asDouble()));
    return new RecordedTraining(
        optimizer,
        steps,
        (int) number(json, path, "batch"),
        (int) number(json, path, "seq"),
        json.path("aux_loss_coef").asDouble(0),
        list(json, path, "losses", steps),
        json.has("aux_losses") ? list(json, path, "aux_losses", steps) : new double[0],
        list(json, path, "total_grad_norm_before_clip", steps),
        firstNorms);
  }

  private static void only(JsonNode json, String path, String field, String value) {
    Check.input(
        json.path(field).asText().equals(value),
        "%s: %s is %s; only %s can be replayed",
        path,
        field,
        json.path(field),
        value);
  }

  private static double number(JsonNode json, String path, String field) {
    JsonNode value = json.path(field);
    Check.input(value.isNumber(), "%s: %s is %s; expected a number", path, field, value);
    return value.doubleValue();
  }

  private static double[] list(JsonNode json, String path, String field, int count) {
    JsonNode value = json.path(field);
    Check.input(
        value.isArray() && value.size() == count,
        "%s: %s has %d entries; expected one for each of %d steps",
        path,
        field,
        value.size(),
        count);
    double[] numbers = new double[count];
    for (int i = 0; i < count; i++) {
      numbers[i] = value.get(i).asDouble();
    }
    return numbers;
  }
}
