#!/usr/bin/env python3
"""Writes variants.json and golden.jsonl beside it: ids from the Python package
tokenizers 0.23.3 for two small BERT vocabularies (cls.json, cased.json, trained
on public text for the tests) under many settings.

    python3 -m pip install tokenizers==0.23.3 && python3 test/data/tokenizer/generate.py

A line of golden.jsonl is one of
    {"tok", "text", "ids"}
    {"tok", "text", "max_length", "ids"}
    {"tok", "a", "b", "max_length", "strategy", "ids", "type_ids"}, or "error" for the last two
"tok" names an entry of variants.json: a base file and the keys that replace its own.
"""
import json
import os
import random

import tokenizers
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
assert tokenizers.__version__ == "0.23.3"

HAND = [
    "", " ", "\t\n\r", "a", "Hello, World!", "the quick brown fox jumps over the lazy dog",
    "It's 3:45pm -- don't panic... (really?) [sic] {ok} <tag> a@b.c #1 $2 50% ^ & * ~ ` | \\ /",
    "\u00c9cole na\u00efve fa\u00e7ade \u00dcber \u00c5ngstr\u00f6m \u0141\u00f3d\u017a \u00d8re \u00f0 \u00fe \u00e6 \u00df \u1e9e",
    "e\u0301 e\u0300\u0323 \u1ec7 \u0110a\u0323\u0306ng Vi\u1ec7t", "\u0130stanbul \u0131\u015f\u0131k I\u0307 i\u0307",
    "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u039f\u0394\u039f\u03a3 \u03ac\u03ad", "\u041f\u0440\u0438\u0432\u0435\u0442 \u0439 \u0451 \u0419",
    "\u4e2d\u6587\u5206\u8bcd\u3002\u6d4b\u8bd5a\u4e2db", "\u65e5\u672c\u8a9e \u304c \u304b\u3099 \u30d1", "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8",
    "\uf900\u2f81a \U0002f800 \U0002b820\U0002b91f\U0002b920 \U00020000x", "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u093c \u0958",
    "\u0645\u0631\u062d\u0628\u0627 \u0634\u064e\u062f\u0651\u0629 \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f1e9\U0001f1ea",
    "a\u0001b \u007fc \u0085d\u00a0e\u2003f\u3000g\u200bh\u00adi\ufeffj\u2028k", "x\ufffdy \ue000 \u0890 \u08e2 \U000110cd \U00013430 \u0378 \U0010ffff",
    "\u2e43\u061d\u166d\U000111c9 \u3002\u00a1\u00bf\u2019\u201c\u2014\u2026", "\u212b \u2126 \u1fef \u037e \u2000 \u0344 \u0f73 \u0f75",
    "a\u1b44\u0301\u0334\U0001d165\u302e b\u302e\u1b44\U0001e94a\u08d4\U0001d16d c", "\U0001d15e\U0001d1bb\U0001d160 \U00011938",
    "a" * 99, "a" * 100, "a" * 101, "\u00e9" * 100, "e\u0301" * 101, "\u4e2d" * 30, "\u0301" * 40, "a" + "\u0301" * 200 + "b", "ab " * 60,
    "[CLS] [SEP][MASK]x[PAD] [UNK]y [mask] [ MASK ]", "a[MASK]b [MASKED] [[MASK]]", "##ing ##a un##able", "unaffable walking talked the-end under_score",
    "foo foobar Foo FOO xfoo foox foo. <x><x> <x>y  <x> z", "a  foo  b foo   c   foobar   d", "caf\u00e9 CAFE\u0301 cafe",
]
PARTS = ["the", "foo", "Foo", "foobar", "[MASK]", "<x>", "caf\u00e9", "a", "b", "un", "able", "##ing", " ", "  ", "\u4e2d\u6587", "hello world", "x", ".", ",", "\n"]
ODD = [0x8d4, 0x1b44, 0x302e, 0x11446, 0x1d165, 0x1d16d, 0x1e94a, 0x301, 0x334, 0x323, 0x345, 0xf71, 0xf73, 0x93c, 0x901, 0x20dd, 0x344, 0x1d15e,
       0x130, 0x131, 0x3a3, 0x1e9e, 0xac01, 0xd7a3, 0x4e2d, 0xf900, 0x2b820, 0x200b, 0x200d, 0xfffd, 0x85, 0xa0, 0x3000, 0x2028, 0xb, 0x1f, 0x7f, 0xe9, 0x212b,
       0x37e, 0x2e43, 0x166d, 0x1f600, 0xe000, 0x110cd]


def random_text(r):
    out = []
    for _ in range(r.choice([2, 4, 8, 16])):
        k = r.random()
        if k < 0.5:
            out.append(r.choice(PARTS))
        elif k < 0.7:
            out.append(chr(r.choice(ODD)) * r.choice([1, 1, 2]))
        elif k < 0.8:
            out.append(" ")
        elif k < 0.9:
            out.append(chr(r.randrange(33, 127)))
        else:
            cp = r.choice([r.randrange(0xA0, 0x600), r.randrange(0x600, 0x3100), r.randrange(0x3100, 0xD800), r.randrange(0xE000, 0x20000)])
            out.append(chr(cp))
    return "".join(out)


def added(content, **flags):
    token = {"id": 0, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    token.update(flags)
    return token


def bert_normalizer(clean, chinese, strip, lower):
    return {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": strip, "lowercase": lower}


def make_variants(cls):
    own = cls["added_tokens"]
    raw = [added("<x>", lstrip=True, rstrip=True), added("foo"), added("foobar", single_word=True), added("hello world", special=True)]
    late = [added("Caf\u00e9", normalized=True), added("foo", normalized=True, single_word=True), added("un", normalized=True, rstrip=True),
            added("  ", normalized=True), added("<x>", lstrip=True)]
    bert = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    turned = {"type": "TemplateProcessing",
              "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
              "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 2}}, {"Sequence": {"id": "B", "type_id": 1}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
              "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                                 "[SEP]": {"id": "[SEP]", "ids": [3, 4], "tokens": ["[SEP]", "[MASK]"]}}}
    return {
        "cls": {"base": "cls.json"},
        "cased": {"base": "cased.json"},
        "lower_keep_accents": {"base": "cls.json", "normalizer": bert_normalizer(True, True, False, True)},
        "cased_strip_accents": {"base": "cased.json", "normalizer": bert_normalizer(True, True, True, False)},
        "no_clean": {"base": "cls.json", "normalizer": bert_normalizer(False, False, None, True)},
        "raw_added": {"base": "cls.json", "added_tokens": own + raw},
        "late_added": {"base": "cls.json", "added_tokens": own + late},
        "bert_processing": {"base": "cls.json", "post_processor": bert},
        "turned": {"base": "cls.json", "post_processor": turned},
    }


def main():
    bases = {name: json.load(open(os.path.join(HERE, name), encoding="utf-8")) for name in ("cls.json", "cased.json")}
    variants = make_variants(bases["cls.json"])
    r = random.Random(20240607)
    lines = []
    for name, variant in variants.items():
        changes = {k: v for k, v in variant.items() if k != "base"}
        tok = Tokenizer.from_str(json.dumps({**bases[variant["base"]], **changes}))
        texts = HAND + [random_text(r) for _ in range(60)]
        for text in texts:
            tok.no_truncation()
            lines.append({"tok": name, "text": text, "ids": tok.encode(text).ids})
        for _ in range(12):
            text, n = r.choice(texts), r.randrange(4, 30)
            tok.enable_truncation(n)
            lines.append({"tok": name, "text": text, "max_length": n, "ids": tok.encode(text).ids})
        for _ in range(30):
            a, b = r.choice(texts), r.choice(texts)
            line = {"tok": name, "a": a, "b": b, "max_length": r.randrange(5, 40), "strategy": r.choice(["longest_first", "only_first", "only_second"])}
            tok.enable_truncation(line["max_length"], strategy=line["strategy"])
            try:
                e = tok.encode(a, b)
                line.update(ids=e.ids, type_ids=e.type_ids)
            except Exception as exc:
                line["error"] = str(exc)
            lines.append(line)
    with open(os.path.join(HERE, "variants.json"), "w") as f:
        json.dump(variants, f, indent=1)
        f.write("\n")
    with open(os.path.join(HERE, "golden.jsonl"), "w") as f:
        for line in lines:
            f.write(json.dumps(line, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
