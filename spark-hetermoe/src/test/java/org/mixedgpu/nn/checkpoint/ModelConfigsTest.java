package org.mixedgpu.nn.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.Golden;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.MoeConfig;
import org.mixedgpu.nn.QkNorm;
import org.mixedgpu.nn.RopeConfig;
import org.mixedgpu.nn.safetensors.StoredType;

class ModelConfigsTest {
  private static ModelConfig golden(String name) {
    return Checkpoint.config(HadoopFileStore.ofDefaults(), Golden.folder(name));
  }

  static List<String> cases() {
    return Golden.cases();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void whatIsWrittenReadsTheSame(String name) {
    ModelConfig config = golden(name);
    String json = ModelConfigs.toJson(config, StoredType.F32);
    assertThat(ModelConfigs.parse(json, "written")).isEqualTo(config);
  }

  @ParameterizedTest
  @MethodSource("cases")
  void whatReadsWithAnotherHeadSizeCanBeWritten(String name) throws Exception {
    ObjectNode fields = fields(name);
    fields.put("head_dim", 2 * golden(name).headDim());
    if (golden(name).family() == ModelFamily.OLMOE) {
      assertThatThrownBy(() -> ModelConfigs.parse(fields.toString(), "here"))
          .hasMessageContaining("expected hidden_size / num_attention_heads = ");
      return;
    }
    ModelConfig config = ModelConfigs.parse(fields.toString(), "here");
    String json = ModelConfigs.toJson(config, StoredType.F32);
    assertThat(ModelConfigs.parse(json, "written")).isEqualTo(config);
  }

  private static ObjectNode fields(String name) throws IOException {
    return (ObjectNode)
        new ObjectMapper().readTree(Path.of(Golden.folder(name), "config.json").toFile());
  }

  @Test
  void everyFamilyHasACase() {
    assertThat(Golden.cases().stream().map(ModelConfigsTest::golden).map(ModelConfig::family))
        .contains(ModelFamily.values());
  }

  @Test
  void readsWhatDistinguishesTheFamilies() {
    assertThat(golden("llama31").rope()).isEqualTo(RopeConfig.llama3(500000, 8, 1, 4, 256));
    assertThat(golden("llama2_linear").rope()).isEqualTo(RopeConfig.linear(10000, 4));
    assertThat(golden("llama_yarn").rope().type()).isEqualTo(RopeConfig.Type.YARN);
    assertThat(golden("llama_bias"))
        .matches(c -> c.qkvBias() && c.outBias() && c.mlpBias() && c.tied() && c.kvHeads() == 1);
    assertThat(golden("mistral_window").slidingWindow()).containsExactly(13, 13, 13);
    assertThat(golden("qwen2_window").slidingWindow()).containsExactly(0, 0, 11);
    assertThat(golden("qwen2")).matches(c -> c.qkvBias() && !c.outBias());
    assertThat(golden("qwen3").qkNorm()).isEqualTo(QkNorm.PER_HEAD);
    assertThat(golden("olmoe_aux").qkNorm()).isEqualTo(QkNorm.WHOLE);
    assertThat(golden("olmoe_aux").requireMoe().auxCoefficient()).isEqualTo(0.05f);
    assertThat(golden("olmoe_aux").requireMoe().renormalise()).isFalse();
    assertThat(golden("mixtral").requireMoe())
        .matches(m -> m.renormalise() && m.experts() == 8 && m.auxCoefficient() == 0);
    assertThat(golden("mixtral_old_bf16").rope()).isEqualTo(RopeConfig.unscaled(1e6));
    assertThat(golden("qwen2moe").requireMoe().sparse()).containsExactly(true, false, true, true);
    assertThat(golden("qwen2moe").requireMoe().sharedIntermediate()).isEqualTo(40);
    assertThat(golden("qwen3moe_mixed").requireMoe().sparse())
        .containsExactly(false, true, false, true);
    assertThat(golden("qwen3moe").headDim()).isEqualTo(48);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "hidden_act | \"gelu\" | hidden_act is \"gelu\"; expected silu",
        "attention_dropout | 0.1 | attention_dropout is 0.1",
        "quantization_config | {\"bits\":4} | quantization_config is {\"bits\":4}",
        "partial_rotary_factor | 0.5 | partial_rotary_factor is 0.5",
        "auto_map | {} | auto_map is {}",
        "clip_qkv | 8.0 | clip_qkv = 8.0",
        "sliding_window | 64 | sliding_window = 64",
        "num_key_value_heads | 3 | query heads a multiple of KV heads",
        "num_hidden_layers | 0 | num_hidden_layers is 0; expected a whole number from 1",
        "num_hidden_layers | 2.5 | num_hidden_layers is 2.5",
        "hidden_size | 999999999999 | hidden_size is 999999999999",
        "vocab_size | null | vocab_size is missing",
        "rms_norm_eps | \"x\" | rms_norm_eps is \"x\"; expected a number",
        "rms_norm_eps | -1 | rms_norm_eps is -1",
        "tie_word_embeddings | 1 | tie_word_embeddings is 1; expected true or false",
        "model_type | \"gemma\" | model_type is \"gemma\"; expected one of llama, mistral",
        "architectures | [\"LlamaForSequenceClassification\"] | expected LlamaForCausalLM",
        "rope_parameters | {\"rope_type\":\"dynamic\"} | rope_parameters.rope_type is \"dynamic\"",
        "rope_parameters | {\"rope_type\":\"linear\"} | rope_parameters.factor is missing",
        "rope_parameters | {\"rope_type\":\"default\",\"x\":1} | rope_parameters.x = 1",
        "rope_parameters | 7 | rope_parameters is 7; expected an object",
        "rope_scaling | {\"type\":\"linear\",\"factor\":2} | nothing beside rope_parameters",
        "head_dim | 15 | an even head size",
      })
  void namesTheFieldThatItCannotFollow(String field, String value, String message)
      throws Exception {
    ObjectMapper json = new ObjectMapper();
    ObjectNode config = fields("llama31");
    config.set(field, json.readTree(value));
    assertThatThrownBy(() -> ModelConfigs.parse(config.toString(), "here/config.json"))
        .hasMessageContaining(message)
        .extracting(e -> ((MixedGpuException) e).fault())
        .isEqualTo(Fault.BAD_INPUT);
  }

  @Test
  void limitsOfTheMixtureAreChecked() {
    String mixtral = ModelConfigs.toJson(golden("mixtral"), StoredType.F32);
    assertThatThrownBy(
            () ->
                ModelConfigs.parse(
                    mixtral.replace("\"num_experts_per_tok\" : 2", "\"num_experts_per_tok\" : 9"),
                    "here"))
        .hasMessageContaining(
            "num_experts_per_tok is 9; expected at most the number of experts, 8");
    assertThatThrownBy(
            () ->
                ModelConfigs.parse(
                    mixtral.replaceFirst("\\{", "{ \"router_jitter_noise\": 0.01,"), "here"))
        .hasMessageContaining("router_jitter_noise is 0.01");
    assertThatThrownBy(
            () -> ModelConfigs.parse(mixtral.replaceFirst("\\{", "{ \"num_experts\": 4,"), "here"))
        .hasMessageContaining("num_local_experts is 8; expected the value of num_experts, 4");
  }

  /** transformers adds the loss where output_router_logits is true; a model may pass through. */
  @Test
  void aBalancingLossThatIsOffKeepsItsCoefficient() throws Exception {
    ModelConfig config = golden("mixtral");
    assertBalance(config, false, 0.02);
    MoeConfig moe = config.requireMoe();
    assertThat(moe.auxCoefficient()).isZero();
    assertBalance(config.withMoe(moe.withCoefficients(0, 0.1f)), false, 0.02);
    ModelConfig on = config.withMoe(moe.withCoefficients(0.5f, 0));
    assertBalance(on, true, 0.5);
    assertBalance(on.withMoe(on.requireMoe().withCoefficients(0, 0)), false, 0.5);
  }

  private static void assertBalance(ModelConfig config, boolean on, double coefficient)
      throws Exception {
    String json = ModelConfigs.toJson(config, StoredType.F32);
    JsonNode written = new ObjectMapper().readTree(json);
    assertThat(written.get("output_router_logits").booleanValue()).isEqualTo(on);
    assertThat(written.get("router_aux_loss_coef").doubleValue()).isEqualTo(coefficient);
    assertThat(ModelConfigs.parse(json, "written")).isEqualTo(config);
  }

  @Test
  void aBrokenFileIsCorrupt() {
    for (String text : new String[] {"", "{", "[]", "{} x", "{\"a\":1,\"a\":2}"}) {
      assertThatThrownBy(() -> ModelConfigs.parse(text, "here"))
          .extracting(e -> ((MixedGpuException) e).fault())
          .isEqualTo(Fault.CORRUPT);
    }
  }

  @Test
  void aFamilyRefusesWhatItCannotSay() {
    ModelConfig mixtral = golden("mixtral");
    ModelConfig odd =
        new ModelConfig(
            ModelFamily.MIXTRAL,
            mixtral.vocab(),
            mixtral.hidden(),
            mixtral.layers(),
            mixtral.heads(),
            mixtral.kvHeads(),
            mixtral.headDim(),
            mixtral.intermediate(),
            mixtral.rmsEps(),
            mixtral.rope(),
            true,
            false,
            false,
            mixtral.qkNorm(),
            mixtral.slidingWindow(),
            mixtral.tied(),
            mixtral.moe(),
            mixtral.initializerRange(),
            mixtral.maxPositions(),
            -1,
            List.of());
    assertThatThrownBy(() -> ModelConfigs.toJson(odd, StoredType.F32))
        .hasMessageContaining("A mixtral model has no biases");
  }
}
