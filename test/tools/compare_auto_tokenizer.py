#!/usr/bin/env python3
"""Token ids of generated strings, ours against AutoTokenizer of transformers 5.

    make -f core.mk build/core/bench/tokenizer
    python3 test/tools/compare_auto_tokenizer.py [-n 2000] [-s SEED] [--variants] build/core/bench/tokenizer DIR ...

A DIR has the files of a tokenizer and config.json. Without tokenizer_config.json
a tokenizer.json is taken as it is, other than transformers does, with a note. The strings are those of
fuzz_tokenizer.py, half of them with white space at an end, and with the tokens
that the companions of tokenizer.json list. --variants also compares copies of
each DIR whose companions contradict tokenizer.json. Prints the strings whose
ids differ and exits with 1 if there are any. Needs the package transformers 5.

    python3 test/tools/compare_auto_tokenizer.py --write test/data/tokenizer/classes.jsonl - test/data/tiny/{bert-cls,bge-m3,qwen3-rerank,roberta-rerank,embedding-gemma}/model

writes what transformers gives for a few texts and all these copies, for
unit/test_tokenizer_class.c.

    python3 test/tools/compare_auto_tokenizer.py [--write test/data/tokenizer/spm.jsonl] --spm build/core/bench/tokenizer test/data/tokenizer/gemma ...

compares directories that have a tokenizer.model and no tokenizer.json, of several classes and settings, or writes
their ids for unit/test_spm_bpe.c.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import AutoTokenizer
import transformers

from fuzz_tokenizer import Strings, ours

ENDS = ["", "", "", "", "\n", " ", "\r\n", "\t", "  ", "\n\n", "\u3000", "\u00a0 ", "\u2028", "\u0085"]
NEW = {"content": "[NEW]", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}


def load(directory, name):
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def save(directory, name, value):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False)


def tokens_of(directory):
    """The texts of all tokens that a file of the directory lists."""
    config, found = load(directory, "tokenizer_config.json"), []
    special = load(directory, "special_tokens_map.json")
    for value in [*config.values(), *special.values(), *(config.get("added_tokens_decoder") or {}).values(),
                  *load(directory, "tokenizer.json").get("added_tokens", [])]:
        for token in value if isinstance(value, list) else [value]:
            text = token.get("content") if isinstance(token, dict) else token
            if isinstance(text, str) and 0 < len(text) < 40:
                found.append(text)
    return sorted(set(found + list(load(directory, "added_tokens.json"))))


def change_config(**keys):
    def change(directory):
        save(directory, "tokenizer_config.json", {**load(directory, "tokenizer_config.json"), **keys})
    return change


def without(*keys):
    def change(directory):
        config = load(directory, "tokenizer_config.json")
        save(directory, "tokenizer_config.json", {k: v for k, v in config.items() if k not in keys})
    return change


def remove(*names):
    def change(directory):
        for name in names:
            if os.path.exists(os.path.join(directory, name)):
                os.remove(os.path.join(directory, name))
    return change


def change_normalizer(**keys):
    def change(directory):
        doc = load(directory, "tokenizer.json")
        if (doc.get("normalizer") or {}).get("type") == "BertNormalizer":
            doc["normalizer"].update(keys)
        save(directory, "tokenizer.json", doc)
    return change


def change_json(**keys):
    def change(directory):
        save(directory, "tokenizer.json", {**load(directory, "tokenizer.json"), **keys})
    return change


def free_piece(directory):
    """A piece of the vocabulary that no file lists as a token, and its id."""
    vocab = load(directory, "tokenizer.json")["model"]["vocab"]
    pairs = vocab.items() if isinstance(vocab, dict) else [(p, i) for i, (p, _) in enumerate(vocab)]
    known = set(tokens_of(directory))
    return next((p, i) for p, i in pairs if len(p) == 2 and p.isalpha() and p not in known)


def add_decoder(normalized):
    """added_tokens_decoder: the tokens of tokenizer.json but its last, and a piece of the vocabulary."""
    def change(directory):
        tokens = [dict(t) for t in load(directory, "tokenizer.json").get("added_tokens", [])]
        piece, number = free_piece(directory)
        decoder = {str(t.pop("id")): t for t in tokens[:-1]}
        decoder[str(number)] = {**NEW, "content": piece, "normalized": normalized, "special": False}
        change_config(added_tokens_decoder=decoder)(directory)
    return change


def add_added(directory):
    piece, number = free_piece(directory)
    without("added_tokens_decoder")(directory)
    save(directory, "added_tokens.json", {piece: number})


def add_map(directory):
    piece, _ = free_piece(directory)
    without("added_tokens_decoder")(directory)
    save(directory, "special_tokens_map.json", {**load(directory, "special_tokens_map.json"),
                                                "additional_special_tokens": [piece],
                                                "mask_token": {**NEW, "content": piece, "lstrip": True}})


def add_extra(directory):
    change_config(additional_special_tokens=[free_piece(directory)[0]])(directory)


VARIANTS = {
    "no class": without("tokenizer_class"),
    "PreTrainedTokenizerFast": change_config(tokenizer_class="PreTrainedTokenizerFast"),
    "no tokenizer.json": remove("tokenizer.json"),
    "BertTokenizer": change_config(tokenizer_class="BertTokenizer"),
    "BertTokenizerFast": change_config(tokenizer_class="BertTokenizerFast"),
    "GemmaTokenizer": change_config(tokenizer_class="GemmaTokenizer"),
    "LlamaTokenizer": change_config(tokenizer_class="LlamaTokenizer"),
    "LlamaTokenizer, legacy": change_config(tokenizer_class="LlamaTokenizerFast", legacy=True),
    "LlamaTokenizer, no prefix": change_config(tokenizer_class="LlamaTokenizer", add_prefix_space=False),
    "do_lower_case false": change_config(do_lower_case=False),
    "do_lower_case true": change_config(do_lower_case=True),
    "no do_lower_case": without("do_lower_case"),
    "strip_accents false": change_config(strip_accents=False),
    "strip_accents true, cased": change_config(strip_accents=True, do_lower_case=False),
    "tokenize_chinese_chars false": change_config(tokenize_chinese_chars=False),
    "normalizer cased": change_normalizer(lowercase=False, strip_accents=False, clean_text=False, handle_chinese_chars=False),
    "add_prefix_space": change_config(add_prefix_space=True),
    "add_prefix_space false": change_config(add_prefix_space=False),
    "no post_processor": change_json(post_processor=None),
    "decoder": add_decoder(False),
    "decoder, normalized": add_decoder(True),
    "added_tokens.json": add_added,
    "special_tokens_map.json": add_map,
    "additional_special_tokens": add_extra,
    "no added tokens": change_json(added_tokens=[]),
    "lstrip by the map": lambda d: (without("added_tokens_decoder")(d), save(d, "special_tokens_map.json", {
        **load(d, "special_tokens_map.json"), "mask_token": {**NEW, "content": "[MASK]" if "[MASK]" in tokens_of(d) else "<mask>", "lstrip": True}})),
}


def compare(program, directory, n, seed):
    """The strings that differ. A text with a token that has no row, or that transformers refuses, is none."""
    try:
        reference = AutoTokenizer.from_pretrained(directory)
    except ValueError as e:
        print("transformers refuses:", str(e).split("\n")[0])
        return []
    rows = load(directory, "config.json").get("vocab_size", 1 << 30)
    tokens = tokens_of(directory)
    vocab = [reference.decode([i]) for i in range(0, min(len(reference), 20000))]
    strings = Strings(seed, [p for p in vocab if p])
    texts = []
    for i in range(n):
        text = strings.string()
        if i % 2:
            text = strings.r.choice(ENDS) + text + strings.r.choice(ENDS)
        if i % 3 == 0 and tokens:
            text += strings.r.choice(["", " ", "a"]) + strings.r.choice(tokens) + strings.r.choice(["", " ", "b", " b"])
        texts.append(text)
    wrong = []
    try:
        all_ids = ours([program, directory], [t.encode() for t in texts])
    except subprocess.CalledProcessError:       # it has said why
        print("refused here")
        return []
    for text, got in zip(texts, all_ids):
        try:
            want = reference(text, add_special_tokens=True)["input_ids"]
        except Exception:
            continue
        if got != want and max(want, default=0) < rows:
            wrong.append((text, want, got))
    return wrong


def fits(directory, variant):
    """A class for another kind of vocabulary gives nonsense there; files in the place of tokenizer.json must be there."""
    if variant == "no tokenizer.json":
        return any(os.path.exists(os.path.join(directory, f)) for f in ("vocab.txt", "sentencepiece.bpe.model", "merges.txt"))
    if variant.startswith(("GemmaTokenizer", "LlamaTokenizer")):
        return bool(load(directory, "tokenizer.json")["model"].get("byte_fallback"))
    return not variant.startswith("BertTokenizer") or load(directory, "tokenizer.json")["model"].get("type") == "WordPiece"


# The companions of a tokenizer.model: config.json, tokenizer_config.json or None, others. "+": a token of the model.
GEMMA = {"tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>"}
LLAMA = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>"}
SPM_VARIANTS = {
    "Gemma, no configuration": ("gemma3_text", None, {}),
    "Gemma, empty configuration": ("gemma3_text", {}, {}),
    "Gemma": ("gemma3_text", {**GEMMA, "add_bos_token": True, "add_eos_token": True}, {}),
    "GemmaTokenizerFast": ("gemma3_text", {**GEMMA, "tokenizer_class": "GemmaTokenizerFast", "add_bos_token": True, "add_eos_token": False}, {}),
    "Gemma, decoder": ("gemma3_text", {**GEMMA, "added_tokens_decoder": {"4": {**NEW, "content": "<mask>", "lstrip": True},
                                                                        "300": {**NEW, "content": "[NEW]"}}}, {}),
    "Gemma, extra tokens": ("gemma3_text", {**GEMMA, "additional_special_tokens": ["<h1>"]}, {}),
    "Gemma, extra tokens as an object": ("gemma3_text", {**GEMMA, "extra_special_tokens": {}}, {}),
    "Gemma, map": ("gemma3_text", GEMMA, {"special_tokens_map.json": {"mask_token": {**NEW, "content": "<mask>", "lstrip": True}, "eos_token": "<h1>"}}),
    "Gemma, added_tokens.json": ("gemma3_text", GEMMA, {"added_tokens.json": {"<table>": 16}}),
    "Llama": ("gemma3_text", {**LLAMA, "add_bos_token": True}, {}),
    "Llama, legacy": ("eurobert", {**LLAMA, "legacy": True, "add_bos_token": True, "add_eos_token": True}, {}),
    "Llama, legacy null": ("eurobert", {**LLAMA, "legacy": None}, {}),
    "Llama, no prefix": ("eurobert", {**LLAMA, "add_prefix_space": False}, {}),
    "LlamaTokenizerFast": ("eurobert", {**LLAMA, "tokenizer_class": "LlamaTokenizerFast"}, {}),
    "no class": ("eurobert", None, {}),
    "PreTrainedTokenizerFast": ("eurobert", {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": True, "add_eos_token": True}, {}),
    "PreTrainedTokenizerFast, renamed": ("eurobert", {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {"16": {**NEW, "content": "[NEW]"}}}, {}),
    "ModernBERT": ("modernbert", GEMMA, {}),
}
SPM_TEXTS = ["Hello  World\n", " \u00c9cole, \u4e2d\u6587 na\u00efve  \U0001f600", "a<mask> b <h1>c</h1>\t<bos>the", "\n\n\n\n\n\n\n<table>  x<eos>",
             "zzzzz zzzqzzqq qqqq zzzzzzz", "\u2581\u2581\u2581\u2581a", "[NEW] <mask>", "", "ing res the with tion 1234 \u0001\u0301"]


def spm_copies(directory):
    """A directory with the tokenizer.model for each variant."""
    for name, (model_type, config, others) in SPM_VARIANTS.items():
        with tempfile.TemporaryDirectory() as copy:
            shutil.copy(os.path.join(directory, "tokenizer.model"), copy)
            save(copy, "config.json", {"model_type": model_type, "vocab_size": VOCAB_ROWS})
            if config is not None:
                save(copy, "tokenizer_config.json", config)
            for file, content in others.items():
                save(copy, file, content)
            yield name, copy


VOCAB_ROWS = 1000000


def write_spm(path, directories):
    with open(path, "w", encoding="ascii") as out:
        for directory in directories:
            for name, copy in spm_copies(directory):
                reference = AutoTokenizer.from_pretrained(copy)
                files = {f: load(copy, f) for f in COMPANIONS if os.path.exists(os.path.join(copy, f))}
                out.write(json.dumps({"variant": name, "files": files, "texts": SPM_TEXTS,
                                      "ids": [reference(t)["input_ids"] for t in SPM_TEXTS],
                                      "pair": reference("zq", "zq")["input_ids"]}) + "\n")


TEXTS = ["Hello  World\n", " \u00c9cole, \u4e2d\u6587 na\u00efve ", "a<mask> b [MASK]c\t", "the %s of %s, %sx"]
COMPANIONS = ["config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]


def copies(directory):
    """A copy of a directory's tokenizer per variant, with the variant's name; the first is as it is."""
    for name, change in {"as it is": lambda d: None, **VARIANTS}.items():
        if name == "no tokenizer.json" or not fits(directory, name):
            continue
        with tempfile.TemporaryDirectory() as copy:
            for file in [*COMPANIONS, "tokenizer.json"]:
                if os.path.exists(os.path.join(directory, file)):
                    shutil.copy(os.path.join(directory, file), copy)
            change(copy)
            yield name, copy


def write(path, directories):
    with open(path, "w", encoding="ascii") as out:
        for directory in directories:
            base = load(directory, "tokenizer.json")
            for name, copy in copies(directory):
                try:
                    reference = AutoTokenizer.from_pretrained(copy)
                except ValueError:
                    continue
                changed = load(copy, "tokenizer.json")
                piece = free_piece(directory)[0]
                texts = [t.replace("%s", piece) for t in TEXTS]
                ids = [reference(t)["input_ids"] for t in texts]
                config = {k: v for k, v in load(copy, "config.json").items() if k in ("model_type", "vocab_size", "tokenizer_class")}
                files = {f: load(copy, f) for f in COMPANIONS[1:] if os.path.exists(os.path.join(copy, f))}
                out.write(json.dumps({"base": directory.split("/")[-2], "variant": name, "files": {"config.json": config, **files},
                                      "json": {k: v for k, v in changed.items() if v != base.get(k)}, "texts": texts, "ids": ids}) + "\n")


def report(name, wrong, n):
    print("%s: %d of %d strings differ" % (name, len(wrong), n), flush=True)
    for text, want, got in sorted(wrong, key=lambda w: len(w[0]))[:3]:
        print("  %s\n    transformers %s\n    ours         %s" % (ascii(text), want, got))
    return bool(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("-s", type=int, default=1)
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--spm", action="store_true")
    parser.add_argument("--write")
    parser.add_argument("program")
    parser.add_argument("dirs", nargs="+")
    args = parser.parse_args()
    if not transformers.__version__.startswith("5."):
        sys.exit("needs transformers 5, not " + transformers.__version__)
    if args.write:
        (write_spm if args.spm else write)(args.write, args.dirs)
        return
    failed = False
    for directory in args.dirs if args.spm else ():
        for name, copy in spm_copies(directory):
            failed |= report("%s, %s" % (directory, name), compare(args.program, copy, args.n, args.s), args.n)
    if args.spm:
        sys.exit(failed)
    for directory in args.dirs:
        failed |= report(directory, compare(args.program, directory, args.n, args.s), args.n)
        for name, change in VARIANTS.items() if args.variants else ():
            if not fits(directory, name):
                continue
            with tempfile.TemporaryDirectory() as copy:
                for entry in os.scandir(directory):
                    if entry.is_file() and entry.stat().st_size < 40e6 and not entry.name.endswith((".safetensors", ".bin")):
                        shutil.copy(entry.path, copy)
                change(copy)
                failed |= report("%s, %s" % (directory, name), compare(args.program, copy, args.n, args.s), args.n)
    sys.exit(failed)


if __name__ == "__main__":
    main()
