"""Writes two small tokenizers and what Hugging Face tokenizers makes of some texts.

    python make_tokenizer.py OUT

OUT/bytelevel (as Llama 3 and Qwen have) and OUT/metaspace (as Llama 2 and Mistral have) hold tokenizer.json, tokenizer_config.json
and golden.json: for each text its ids with and without special tokens, and the text that the ids decode to. The tokenizers are
trained on this file itself.
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


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(words), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, pre_tokenizers.ByteLevel.alphabet(), ["<|begin|>", "<|end|>"]


def metaspace():
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(content=" ", left=1, right=0)])
    return tokenizer, [], ["<unk>", "<|begin|>", "<|end|>"] + ["<0x%02X>" % b for b in range(256)]


def write(out, tokenizer, alphabet, special):
    os.makedirs(out, exist_ok=True)
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False, initial_alphabet=alphabet)
    with open(__file__, encoding="utf-8") as f:
        tokenizer.train_from_iterator([line for line in f.read().splitlines() if line.isascii()] * 3, trainer)
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B", special_tokens=[("<|begin|>", begin)])
    path = os.path.join(out, "tokenizer.json")
    tokenizer.save(path)
    with open(path, encoding="utf-8") as f:
        saved = json.load(f)
    # Byte tokens are ordinary ones: they are trained as special tokens only to be there.
    saved["added_tokens"] = [t for t in saved["added_tokens"] if not t["content"].startswith("<0x")]
    with open(path, "w", encoding="utf-8") as f:
        json.dump(saved, f, ensure_ascii=False)
    tokenizer = Tokenizer.from_file(path)
    with open(os.path.join(out, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>",
                   "eos_token": {"content": "<|end|>", "special": True}}, f)
    golden = {"vocab": tokenizer.get_vocab_size(), "bos": begin, "eos": tokenizer.token_to_id("<|end|>"),
              "cases": [{"text": t, "ids": tokenizer.encode(t).ids, "plain": tokenizer.encode(t, add_special_tokens=False).ids,
                         "decoded": tokenizer.decode(tokenizer.encode(t).ids)} for t in TEXTS]}
    with open(os.path.join(out, "golden.json"), "w") as f:
        json.dump(golden, f)


def main():
    write(os.path.join(sys.argv[1], "bytelevel"), *byte_level())
    write(os.path.join(sys.argv[1], "metaspace"), *metaspace())


if __name__ == "__main__":
    main()
