"""Opens model folders that Java wrote in Hugging Face transformers and compares.

    python check_roundtrip.py FOLDER ...

Each FOLDER holds a model, a tokenizer and java.safetensors: input_ids int32 [B,T], logits fp32 [B,T,V] as Java computed them, and
text_ids int32 [N], the ids of text.txt. Prints one line each; exit 1 where logits differ by more than 1e-4 (fp32 weights), where a
tensor is missing or unexpected, or where the tokenizer gives other ids.
"""

import os
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

LIMIT = 1e-4


def check(folder):
    recorded = load_file(os.path.join(folder, "java.safetensors"))
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                       output_loading_info=True)
    problems = {k: v for k, v in info.items() if v}
    with torch.no_grad():
        logits = model.eval()(recorded["input_ids"].long(), use_cache=False).logits
    difference = (logits - recorded["logits"]).abs().max().item()
    same_choice = (logits.argmax(-1) == recorded["logits"].argmax(-1)).float().mean().item()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with open(os.path.join(folder, "text.txt"), encoding="utf-8", newline="") as f:
        text = f.read()
    ids = tokenizer(text)["input_ids"]
    tokens_agree = ids == recorded["text_ids"].tolist() and tokenizer.decode(ids, skip_special_tokens=True) == text
    ok = difference <= LIMIT and not problems and tokens_agree
    print("%-4s %-18s %-12s largest logit difference %.2e, same choice %.4f, tokenizer %s%s" % (
        "ok" if ok else "FAIL", os.path.basename(folder), model.config.model_type, difference, same_choice,
        "agrees" if tokens_agree else "differs", ", loading: %s" % problems if problems else ""), flush=True)
    return ok


if __name__ == "__main__":
    torch.set_num_threads(2)
    results = [check(folder) for folder in sys.argv[1:]]
    sys.exit(0 if results and all(results) else 1)
