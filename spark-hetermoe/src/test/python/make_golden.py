"""Writes small random models and what Hugging Face transformers with PyTorch computes from them.

    python make_golden.py OUT [CASE ...]        all cases, or those named; recorded with the versions in versions.json

Each OUT/CASE/ is a Hugging Face model folder (config.json, model*.safetensors) and holds besides
  golden.safetensors  input_ids int64 [B,T]; logits fp32 [B,T,V]; k.L, v.L fp32 [B,Hkv,T,D], the key/value cache of layer L after
                      the forward pass (keys after RoPE); for training cases train_ids int64 [steps,B,T]
  train.json          training cases: AdamW settings; per step the loss, the balancing loss (its coefficient included; 0 without one)
                      and the total gradient norm before clipping; the L2 norm of every gradient at step 0
  final.safetensors   training cases: the weights after the last step
Everything is computed in fp32 on the CPU, eager attention and eager experts, without dropout. Where a case is stored in another
type, its weights were rounded to that type before anything was computed.
"""

import copy
import json
import os
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

torch.set_num_threads(2)
torch.use_deterministic_algorithms(True, warn_only=True)

COMMON = dict(max_position_embeddings=4096, use_cache=True, initializer_range=0.08)
BIG = dict(vocab_size=512, batch=2, length=160)
SMALL = dict(vocab_size=128, batch=2, length=48)
DEFAULT_ROPE = dict(rope_type="default", rope_theta=1000000.0)

# What is not a field of the config: batch and length of the forward pass, train (steps, batch, length), aux (the coefficient of
# the balancing loss), stored (type), shard (largest shard), old (write config.json as transformers 4 did).
CASES = {
    "llama31": dict(BIG, model_type="llama", hidden_size=128, intermediate_size=352, num_hidden_layers=3, num_attention_heads=8,
                    num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=False, train=(12, 4, 64), seed=1000,
                    rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
                                         high_freq_factor=4.0, original_max_position_embeddings=256)),
    "qwen2": dict(BIG, model_type="qwen2", hidden_size=96, intermediate_size=256, num_hidden_layers=2, num_attention_heads=6,
                  num_key_value_heads=2, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=DEFAULT_ROPE, seed=1001),
    "mixtral": dict(BIG, model_type="mixtral", hidden_size=96, intermediate_size=160, num_hidden_layers=3, num_attention_heads=8,
                    num_key_value_heads=4, num_local_experts=8, num_experts_per_tok=2, rms_norm_eps=1e-5, tie_word_embeddings=False,
                    router_aux_loss_coef=0.02, output_router_logits=False, sliding_window=None, rope_parameters=DEFAULT_ROPE,
                    train=(12, 4, 64), seed=1002),
    "qwen3moe": dict(BIG, model_type="qwen3_moe", hidden_size=128, intermediate_size=256, moe_intermediate_size=64,
                     num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=48, num_experts=12,
                     num_experts_per_tok=3, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], rms_norm_eps=1e-6,
                     tie_word_embeddings=False, router_aux_loss_coef=0.001, rope_parameters=DEFAULT_ROPE, train=(12, 4, 64),
                     seed=1003),
    # Every family once more or for the first time, small. All heads have keys of their own; linear RoPE.
    "llama2_linear": dict(SMALL, model_type="llama", hidden_size=48, intermediate_size=96, num_hidden_layers=2,
                          num_attention_heads=4, num_key_value_heads=4, rms_norm_eps=1e-5, tie_word_embeddings=False, old=True,
                          rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0), seed=2000),
    # Biases everywhere, one key head for all.
    "llama_bias": dict(SMALL, model_type="llama", hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                       num_key_value_heads=1, rms_norm_eps=1e-5, tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
                       rope_parameters=dict(rope_type="default", rope_theta=10000.0), train=(8, 2, 32), seed=2001),
    "llama_yarn": dict(SMALL, model_type="llama", hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
                       num_key_value_heads=1, rms_norm_eps=1e-5, tie_word_embeddings=False, seed=2002,
                       rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, beta_fast=32.0, beta_slow=1.0,
                                            original_max_position_embeddings=1024)),
    # The window is shorter than the sequence; heads are wider than hidden / heads.
    "mistral_window": dict(SMALL, model_type="mistral", hidden_size=48, intermediate_size=96, num_hidden_layers=3,
                           num_attention_heads=4, num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5, sliding_window=13,
                           tie_word_embeddings=False, rope_parameters=dict(rope_type="default", rope_theta=10000.0),
                           train=(8, 2, 32), seed=2003),
    # One layer slides, two do not.
    "qwen2_window": dict(SMALL, model_type="qwen2", hidden_size=48, intermediate_size=96, num_hidden_layers=3,
                         num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-6, tie_word_embeddings=False,
                         use_sliding_window=True, sliding_window=11, max_window_layers=2, rope_parameters=DEFAULT_ROPE,
                         stored="float16", seed=2004),
    "qwen3": dict(SMALL, model_type="qwen3", hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                  num_key_value_heads=2, head_dim=20, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=DEFAULT_ROPE,
                  train=(8, 2, 32), seed=2005),
    # A shared expert; the second of four layers is dense.
    "qwen2moe": dict(SMALL, model_type="qwen2_moe", hidden_size=48, intermediate_size=80, moe_intermediate_size=24,
                     shared_expert_intermediate_size=40, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                     num_experts=6, num_experts_per_tok=2, norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[1],
                     rms_norm_eps=1e-6, tie_word_embeddings=False, rope_parameters=DEFAULT_ROPE, train=(8, 2, 32), seed=2006),
    # The balancing loss is on; queries and keys are normalised over all heads.
    "olmoe_aux": dict(SMALL, model_type="olmoe", hidden_size=48, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
                      num_key_value_heads=4, num_experts=8, num_experts_per_tok=3, norm_topk_prob=False, rms_norm_eps=1e-5, eos_token_id=2,
                      # With a padding token PyTorch keeps its embedding at zero, where the norm's derivative is enormous.
                      pad_token_id=None,
                      tie_word_embeddings=False, rope_parameters=dict(rope_type="default", rope_theta=10000.0),
                      output_router_logits=True, router_aux_loss_coef=0.05, train=(8, 2, 32), aux=0.05, seed=2007),
    # As transformers 4 wrote it, in bfloat16 and several files; a sliding window.
    "mixtral_old_bf16": dict(SMALL, model_type="mixtral", hidden_size=48, intermediate_size=40, num_hidden_layers=2,
                             num_attention_heads=4, num_key_value_heads=2, num_local_experts=6, num_experts_per_tok=2,
                             rms_norm_eps=1e-5, tie_word_embeddings=False, sliding_window=17, rope_parameters=DEFAULT_ROPE,
                             stored="bfloat16", shard="60KB", old=True, seed=2008),
    # Every second layer is dense, every layer slides, the balancing loss is on.
    "qwen3moe_mixed": dict(SMALL, model_type="qwen3_moe", hidden_size=48, intermediate_size=64, moe_intermediate_size=24,
                           num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_experts=5,
                           num_experts_per_tok=2, norm_topk_prob=True, decoder_sparse_step=2, mlp_only_layers=[],
                           use_sliding_window=True, sliding_window=19, rms_norm_eps=1e-6, tie_word_embeddings=True,
                           rope_parameters=DEFAULT_ROPE, output_router_logits=True, router_aux_loss_coef=0.02,
                           train=(8, 2, 32), aux=0.02, shard="60KB", seed=2009),
}


def as_transformers_4_wrote(path):
    with open(path) as f:
        config = json.load(f)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope.get("rope_type") == "default" else dict(rope, type=rope.pop("rope_type"))
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.40.0"
    with open(path, "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)


def balancing_loss(router_logits, experts, top_k):
    """Written out a second time, so that a change of transformers does not pass unnoticed."""
    probs = torch.cat([torch.softmax(logits.float(), -1) for logits in router_logits])
    chosen = torch.topk(probs, top_k, -1).indices
    counts = torch.bincount(chosen.reshape(-1), minlength=experts).float() / probs.shape[0]
    return experts * (counts * probs.mean(0)).sum()


def train(model, config, ids, aux):
    settings = dict(
        optimizer="AdamW", lr=1e-3, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1, grad_clip_norm=1.0, lr_schedule="constant",
        steps=ids.shape[0], batch=ids.shape[1], seq=ids.shape[2], aux_loss_coef=aux,
        loss="losses: mean cross-entropy of token t+1 from position t over all B*(T-1) positions; aux_losses: aux_loss_coef times "
             "the balancing loss of transformers over all B*T positions of all MoE layers; their sum is differentiated; weight "
             "decay on every parameter")
    model.train()
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["lr"], betas=tuple(settings["betas"]), eps=settings["eps"],
                                  weight_decay=settings["weight_decay"])
    losses, aux_losses, totals, first, closest = [], [], [], {}, float("inf")
    moe = hasattr(config, "num_experts_per_tok")
    for step in range(ids.shape[0]):
        extra = dict(output_router_logits=True) if moe else {}
        out = model(ids[step], use_cache=False, **extra)
        logits = out.logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, config.vocab_size), ids[step][:, 1:].reshape(-1))
        balance = aux * out.aux_loss if aux else torch.zeros(())
        if aux:
            own = aux * balancing_loss(out.router_logits, out.router_logits[0].shape[-1], config.num_experts_per_tok)
            assert abs(own.item() - balance.item()) < 1e-6, (own, balance)
        for router in out.router_logits if moe else ():
            ranked = torch.sort(router, dim=-1, descending=True).values
            top = config.num_experts_per_tok
            closest = min(closest, (ranked[:, top - 1] - ranked[:, top]).min().item())
        optimizer.zero_grad()
        (loss + balance).backward()
        if step == 0:
            first = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
        totals.append(torch.nn.utils.clip_grad_norm_(model.parameters(), settings["grad_clip_norm"]).item())
        optimizer.step()
        losses.append(loss.item())
        aux_losses.append(balance.item())
    if moe:
        # A gap near 1e-6 can tip on another processor, and from there two correct runs are different runs.
        print("closest choice of a router: logits %.1e apart" % closest)
    settings.update(losses=losses, aux_losses=aux_losses, total_grad_norm_before_clip=totals, grad_norms_step0=first)
    return settings


def make(folder, case):
    case = dict(case)
    torch.manual_seed(case.pop("seed"))
    batch, length = case.pop("batch"), case.pop("length")
    steps, aux = case.pop("train", None), case.pop("aux", 0.0)
    stored, shard, old = case.pop("stored", "float32"), case.pop("shard", "5GB"), case.pop("old", False)
    config = AutoConfig.for_model(case.pop("model_type"), **{**COMMON, **case})
    config._experts_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms, biases and gates start at values that prove nothing
                parameter.add_(torch.randn_like(parameter) * 0.1)
        for parameter in model.parameters():
            parameter.copy_(parameter.to(getattr(torch, stored)).float())
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    # A copy: converting to a shorter type and back would round RoPE's frequencies too.
    copy.deepcopy(model).to(getattr(torch, stored)).save_pretrained(folder, max_shard_size=shard)
    if old:
        as_transformers_4_wrote(os.path.join(folder, "config.json"))
    ids = torch.randint(0, config.vocab_size, (batch, length))
    with torch.no_grad():
        out = model(ids, use_cache=True)
        whole = model(ids, use_cache=False).logits
    assert (out.logits - whole).abs().max() < 1e-5
    golden = {"input_ids": ids, "logits": whole.contiguous()}
    # A sliding layer's cache forgets: keys and values are taken from a model whose cache is told not to.
    cache = transformers.DynamicCache()
    with torch.no_grad():
        model(ids, past_key_values=cache, use_cache=True)
    for index in range(config.num_hidden_layers):
        layer = cache.layers[index]
        assert layer.keys.shape[2] == length, layer.keys.shape
        golden[f"k.{index}"], golden[f"v.{index}"] = layer.keys.contiguous(), layer.values.contiguous()
    if steps:
        train_ids = torch.randint(0, config.vocab_size, steps)
        golden["train_ids"] = train_ids
        record = train(model, config, train_ids, aux)
        with open(os.path.join(folder, "train.json"), "w") as f:
            json.dump(record, f, indent=1)
        model.save_pretrained(os.path.join(folder, "final"))
        os.replace(os.path.join(folder, "final", "model.safetensors"), os.path.join(folder, "final.safetensors"))
        shutil.rmtree(os.path.join(folder, "final"))
    save_file(golden, os.path.join(folder, "golden.safetensors"))
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder)) // 1024
    print(os.path.basename(folder), size, "KiB", "losses %.4f %.4f" % (record["losses"][0], record["losses"][-1]) if steps else "")


def main():
    out, names = sys.argv[1], sys.argv[2:] or list(CASES)
    for name in names:
        make(os.path.join(out, name), CASES[name])
    with open(os.path.join(out, "versions.json"), "w") as f:
        json.dump(dict(torch=torch.__version__, transformers=transformers.__version__), f)
        f.write("\n")


if __name__ == "__main__":
    main()
