"""What PyTorch and Hugging Face transformers need on the CPU for the models of EngineBenchmark.

Reads commands from standard input, one a line, and answers each with the wall and the
processor seconds it took:
  open FAMILY JSON   makes a random model; JSON holds the arguments of its config
  prefill N          one forward pass of N tokens with a KV cache, logits of the last token only
  train B T          one step: forward, loss, backward, clipping, AdamW, on B sequences of T tokens
  close
Usage: python torch_baseline.py THREADS; needs torch and transformers.
"""
import gc
import json
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(1)
model = None
optimizer = None


def prefill(tokens):
    ids = torch.randint(0, model.config.vocab_size, (1, tokens))
    start = time.perf_counter()
    with torch.inference_mode():
        logits = model(ids, use_cache=True, logits_to_keep=1).logits
        float(logits[0, -1, 0])
    return time.perf_counter() - start


def train(batch, tokens):
    global optimizer
    if optimizer is None:
        model.train()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
        )
    ids = torch.randint(0, model.config.vocab_size, (batch, tokens))
    start = time.perf_counter()
    loss = model(ids, labels=ids, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    float(loss.detach())
    return time.perf_counter() - start


for line in sys.stdin:
    words = line.split(" ", 2)
    command = words[0].strip()
    seconds = 0.0
    processor = time.process_time()
    if command == "open":
        config = AutoConfig.for_model(words[1], **json.loads(words[2]))
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").float().eval()
        optimizer = None
        seconds = sum(p.numel() for p in model.parameters())
    elif command == "prefill":
        seconds = prefill(int(words[1]))
    elif command == "train":
        seconds = train(int(words[1]), int(words[2]))
    elif command == "close":
        model = None
        optimizer = None
        gc.collect()
    print(seconds, time.process_time() - processor, flush=True)
