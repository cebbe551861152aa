"""Writes a small byte-level BPE tokenizer and what Hugging Face tokenizers makes of some texts.

    python make_tokenizer.py OUT

OUT holds tokenizer.json, tokenizer_config.json and golden.json: for each text its ids with and without special tokens, and the
text that the ids decode to. The tokenizer is trained on this file itself.
"""

import json
import os
import sys

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "",
    "hello",
    " Hello,  world!\n\n\tTabs and   spaces ",
    "Zürich, 東京, naïve café",
    "emoji 🙂👩‍👩‍👧 and \u00ad soft\u200b hyphen",
    "numbers 1234567890 3.14159 1e-6",
    "it's they'll WE'VE",
    "<s>not <|end|> plain</s>",
    "a" * 600,
    "\u0000\u0001 control \ufffd",
    "e\u0301 composed",
]


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(words), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<|begin|>", "<|end|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    with open(__file__, encoding="utf-8") as f:
        tokenizer.train_from_iterator(f.read().splitlines() * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B", special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))])
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    with open(os.path.join(out, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>",
                   "eos_token": {"content": "<|end|>", "special": True}}, f)
    golden = {"vocab": tokenizer.get_vocab_size(), "bos": tokenizer.token_to_id("<|begin|>"), "eos": tokenizer.token_to_id("<|end|>"),
              "cases": [{"text": t, "ids": tokenizer.encode(t).ids, "plain": tokenizer.encode(t, add_special_tokens=False).ids,
                         "decoded": tokenizer.decode(tokenizer.encode(t).ids)} for t in TEXTS]}
    with open(os.path.join(out, "golden.json"), "w") as f:
        json.dump(golden, f)


if __name__ == "__main__":
    main()
