package org.mixedgpu.nn.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.RopeConfig;

/** The fields that published models of each family have in their config.json. */
class KnownConfigsTest {
  private static final String COMMON =
      "\"hidden_act\":\"silu\",\"initializer_range\":0.02,\"use_cache\":true,"
          + "\"transformers_version\":\"4.40.0\",\"attention_dropout\":0.0,";

  private static ModelConfig parse(String json) {
    return ModelConfigs.parse("{" + COMMON + json + "}", "config.json");
  }

  @Test
  void llama2() {
    ModelConfig c =
        parse(
            """
            "_name_or_path":"x","architectures":["LlamaForCausalLM"],"bos_token_id":1,
            "eos_token_id":2,"hidden_size":4096,"intermediate_size":11008,
            "max_position_embeddings":4096,"model_type":"llama","num_attention_heads":32,
            "num_hidden_layers":32,"num_key_value_heads":32,"pad_token_id":0,"pretraining_tp":1,
            "rms_norm_eps":1e-05,"rope_scaling":null,"tie_word_embeddings":false,
            "torch_dtype":"float16","vocab_size":32000,"max_length":4096
            """);
    assertThat(c.headDim()).isEqualTo(128);
    assertThat(c.rope()).isEqualTo(RopeConfig.unscaled(10000));
  }

  @Test
  void llama31WithSeveralEndTokens() {
    ModelConfig c =
        parse(
            """
            "architectures":["LlamaForCausalLM"],"attention_bias":false,"bos_token_id":128000,
            "eos_token_id":[128001,128008,128009],"hidden_size":4096,"intermediate_size":14336,
            "max_position_embeddings":131072,"mlp_bias":false,"model_type":"llama",
            "num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,
            "pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":{"factor":8.0,
            "low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192,
            "rope_type":"llama3"},"rope_theta":500000.0,"tie_word_embeddings":false,
            "torch_dtype":"bfloat16","vocab_size":128256
            """);
    assertThat(c.eosIds()).isEqualTo(List.of(128001, 128008, 128009));
    assertThat(c.rope()).isEqualTo(RopeConfig.llama3(500000, 8, 1, 4, 8192));
  }

  @Test
  void mistralWithItsWindow() {
    ModelConfig c =
        parse(
            """
            "architectures":["MistralForCausalLM"],"bos_token_id":1,"eos_token_id":2,
            "hidden_size":4096,"intermediate_size":14336,"max_position_embeddings":32768,
            "model_type":"mistral","num_attention_heads":32,"num_hidden_layers":32,
            "num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_theta":10000.0,
            "sliding_window":4096,"tie_word_embeddings":false,"torch_dtype":"bfloat16",
            "vocab_size":32000
            """);
    assertThat(c.slidingWindow(31)).isEqualTo(4096);
  }

  @Test
  void qwen25WithAWindowThatIsOff() {
    ModelConfig c =
        parse(
            """
            "architectures":["Qwen2ForCausalLM"],"bos_token_id":151643,"eos_token_id":151645,
            "hidden_size":3584,"intermediate_size":18944,"max_position_embeddings":32768,
            "max_window_layers":28,"model_type":"qwen2","num_attention_heads":28,
            "num_hidden_layers":28,"num_key_value_heads":4,"rms_norm_eps":1e-06,
            "rope_theta":1000000.0,"sliding_window":131072,"tie_word_embeddings":false,
            "torch_dtype":"bfloat16","use_sliding_window":false,"vocab_size":152064
            """);
    assertThat(c.slidingWindow()).containsOnly(0);
    assertThat(c.qkvBias()).isTrue();
  }

  @Test
  void qwen25StretchedByYarn() {
    ModelConfig c =
        parse(
            """
            "architectures":["Qwen2ForCausalLM"],"bos_token_id":151643,"eos_token_id":151645,
            "hidden_size":896,"intermediate_size":4864,"max_position_embeddings":32768,
            "max_window_layers":21,"model_type":"qwen2","num_attention_heads":14,
            "num_hidden_layers":24,"num_key_value_heads":2,"rms_norm_eps":1e-06,
            "rope_scaling":{"factor":4.0,"original_max_position_embeddings":32768,"type":"yarn"},
            "rope_theta":1000000.0,"sliding_window":null,"tie_word_embeddings":true,
            "torch_dtype":"bfloat16","use_sliding_window":false,"vocab_size":151936
            """);
    assertThat(c.rope().type()).isEqualTo(RopeConfig.Type.YARN);
    assertThat(c.rope().originalMaxPositions()).isEqualTo(32768);
  }

  @Test
  void mixtral() {
    ModelConfig c =
        parse(
            """
            "architectures":["MixtralForCausalLM"],"bos_token_id":1,"eos_token_id":2,
            "hidden_size":4096,"intermediate_size":14336,"max_position_embeddings":32768,
            "model_type":"mixtral","num_attention_heads":32,"num_experts_per_tok":2,
            "num_hidden_layers":32,"num_key_value_heads":8,"num_local_experts":8,
            "output_router_logits":false,"rms_norm_eps":1e-05,"rope_theta":1000000.0,
            "router_aux_loss_coef":0.02,"sliding_window":null,"tie_word_embeddings":false,
            "torch_dtype":"bfloat16","vocab_size":32000
            """);
    assertThat(c.requireMoe().intermediate()).isEqualTo(14336);
  }

  @Test
  void qwen15Moe() {
    ModelConfig c =
        parse(
            """
            "architectures":["Qwen2MoeForCausalLM"],"bos_token_id":151643,"eos_token_id":151643,
            "decoder_sparse_step":1,"hidden_size":2048,"intermediate_size":5632,
            "max_position_embeddings":8192,"max_window_layers":21,"model_type":"qwen2_moe",
            "moe_intermediate_size":1408,"norm_topk_prob":false,"num_attention_heads":16,
            "num_experts":60,"num_experts_per_tok":4,"num_hidden_layers":24,
            "num_key_value_heads":16,"output_router_logits":false,"rms_norm_eps":1e-06,
            "rope_theta":1000000.0,"router_aux_loss_coef":0.001,
            "shared_expert_intermediate_size":5632,"sliding_window":32768,
            "tie_word_embeddings":false,"torch_dtype":"bfloat16","use_sliding_window":false,
            "vocab_size":151936
            """);
    assertThat(c.requireMoe().sharedIntermediate()).isEqualTo(5632);
    assertThat(c.qkvBias()).isTrue();
  }

  @Test
  void qwen3Moe() {
    ModelConfig c =
        parse(
            """
            "architectures":["Qwen3MoeForCausalLM"],"attention_bias":false,"bos_token_id":151643,
            "decoder_sparse_step":1,"eos_token_id":151645,"head_dim":128,"hidden_size":2048,
            "intermediate_size":6144,"max_position_embeddings":40960,"max_window_layers":48,
            "mlp_only_layers":[],"model_type":"qwen3_moe","moe_intermediate_size":768,
            "norm_topk_prob":true,"num_attention_heads":32,"num_experts":128,
            "num_experts_per_tok":8,"num_hidden_layers":48,"num_key_value_heads":4,
            "output_router_logits":false,"rms_norm_eps":1e-06,"rope_scaling":null,
            "rope_theta":1000000.0,"router_aux_loss_coef":0.001,"sliding_window":null,
            "tie_word_embeddings":false,"torch_dtype":"bfloat16","use_sliding_window":false,
            "vocab_size":151936
            """);
    assertThat(c.queryWidth()).isEqualTo(4096);
    assertThat(c.requireMoe().sparseLayers()).isEqualTo(48);
  }

  @Test
  void olmoe() {
    ModelConfig c =
        parse(
            """
            "architectures":["OlmoeForCausalLM"],"attention_bias":false,"clip_qkv":null,
            "eos_token_id":50279,"hidden_size":2048,"intermediate_size":1024,
            "max_position_embeddings":4096,"model_type":"olmoe","norm_topk_prob":false,
            "num_attention_heads":16,"num_experts":64,"num_experts_per_tok":8,
            "num_hidden_layers":16,"num_key_value_heads":16,"output_router_logits":false,
            "pad_token_id":1,"rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":10000.0,
            "router_aux_loss_coef":0.01,"tie_word_embeddings":false,"torch_dtype":"bfloat16",
            "vocab_size":50304
            """);
    assertThat(c.family()).isEqualTo(ModelFamily.OLMOE);
    assertThat(c.requireMoe().intermediate()).isEqualTo(1024);
    assertThat(c.requireMoe().auxCoefficient()).isZero();
  }

  /** What the config classes of transformers 5 make of a window that is absent, or null. */
  @ParameterizedTest
  @CsvSource({"mixtral, 0.001f", "qwen3_moe, 0.001f", "olmoe, 0.01f"})
  void anAbsentBalancingCoefficientIsTheFamilys(String family, float coefficient) {
    String fields =
        """
        "bos_token_id":1,"eos_token_id":2,"hidden_size":64,"intermediate_size":128,
        "max_position_embeddings":8192,"num_attention_heads":4,"num_hidden_layers":2,
        "num_key_value_heads":2,"rms_norm_eps":1e-05,"tie_word_embeddings":false,
        "vocab_size":100,"num_experts":4,"num_experts_per_tok":2,"model_type":"%s"
        """
            .formatted(family);
    if (family.equals("qwen3_moe")) {
      fields += ",\"moe_intermediate_size\":32,\"head_dim\":16";
    }
    ModelConfig asked = parse(fields + ",\"output_router_logits\":true");
    assertThat(asked.requireMoe().auxCoefficient()).isEqualTo(coefficient);
    ModelConfig idle = parse(fields);
    assertThat(idle.requireMoe().auxCoefficient()).isZero();
    assertThat(idle.requireMoe().namedAuxCoefficient()).isEqualTo(coefficient);
  }

  @ParameterizedTest
  @CsvSource({
    "mistral, false, 4096",
    "mixtral, false, 0",
    "qwen2, false, 0",
    "qwen2, true, 4096",
    "qwen3, true, 4096",
    "qwen2_moe, true, 4096",
    "qwen3_moe, true, 4096",
  })
  void anAbsentWindowIsTheFamilysAndNullIsNone(String family, boolean on, int absent) {
    String fields =
        """
        "bos_token_id":1,"eos_token_id":2,"hidden_size":64,"intermediate_size":128,
        "max_position_embeddings":8192,"num_attention_heads":4,"num_hidden_layers":2,
        "num_key_value_heads":2,"rms_norm_eps":1e-05,"tie_word_embeddings":false,
        "vocab_size":100,"model_type":"%s"
        """
            .formatted(family);
    if (family.startsWith("qwen")) {
      fields += ",\"max_window_layers\":" + (family.equals("qwen2_moe") ? 2 : 0);
      fields += ",\"use_sliding_window\":" + on;
    }
    if (family.equals("qwen2_moe")) {
      fields += ",\"shared_expert_intermediate_size\":32";
    }
    if (family.endsWith("moe")) {
      fields += ",\"moe_intermediate_size\":32";
    }
    if (family.endsWith("moe") || family.equals("mixtral")) {
      fields += ",\"num_experts\":4,\"num_experts_per_tok\":2";
    }
    assertThat(parse(fields).slidingWindow(0)).isEqualTo(absent);
    assertThat(parse(fields + ",\"sliding_window\":null").slidingWindow()).containsOnly(0);
    assertThat(parse(fields + ",\"sliding_window\":7").slidingWindow(0))
        .isEqualTo(absent == 0 && family.startsWith("qwen") ? 0 : 7);
  }
}
