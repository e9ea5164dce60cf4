#!/usr/bin/env python3
"""Writes unigram.json, chars.json, spm/, roberta/, variants.json and golden.jsonl beside it: ids
from the Python package tokenizers 0.23.3 for two small BERT vocabularies (cls.json,
cased.json), one of byte-level BPE (bpe.json), all trained on public text for the
tests, and one made-up unigram vocabulary under many settings.

    python3 -m pip install tokenizers==0.23.3 && python3 test/data/tokenizer/generate.py

A line of golden.jsonl is one of
    {"tok", "text", "ids"}
    {"tok", "text", "max_length", "ids"}
    {"tok", "a", "b", "max_length", "strategy", "ids", "type_ids"}, or "error" for the last two
"tok" names an entry of variants.json: a base file and the keys that replace its
own; "@charsmap" stands for the base's precompiled_charsmap. "dir" is a folder of
tokenizer files in place of them.
"""
import base64
import json
import os
import random
import struct

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

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


# What the charsmap of unigram.json replaces.
MAPPED = {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}
MAPPED.update({c: " " for c in "\t\n\r\u00a0\u3000\u2028"})
MAPPED.update({c: "" for c in "\x01\x1f\x7f\u00ad\u200b"})
MAPPED.update({"e\u0301": "\u00e9", "\u00bd": "1\u20442", "\ufb01": "fi", "\u2122": "TM", "\u0958": "\u0915\u093c", "\u0340": "\u0300",
               "\u304b\u3099": "\u304c", "\ufdfa": "a b c", "\uff76": "\u30ab", "\u00e9": "\u00e9", "\U0001d400": "A", "\u0915": "\u0916"})
WORDS = """the a an and of to in is it that for on was with as be at by he she they this from have not are or his her we you will would
there their what about which when make like time just him know take into year your good some could them see other than then now look only
come its over think also back after use two how our work first well way even new want because any these give day most us hello world
quick brown fox jumps lazy dog foo bar un able ing ed er ly ness tion""".split()


def charsmap(mapping):
    """A precompiled charsmap (Darts-clone): a block of units for each inner node, values in free units behind."""
    texts, tree = b"", {}
    for text, to in sorted(mapping.items()):
        node = tree
        for byte in text.encode():
            node = node.setdefault(byte, {})
        node[None] = len(texts)
        texts += to.encode() + b"\0"
    units, values, queue, n_blocks = {}, [], [(0, tree, 0)], 0
    while queue:
        at, node, label = queue.pop()
        if len(node) == 1 and None in node:
            values.append((at, node[None], label))
            continue
        base = n_blocks * 256 + (at & 255)
        n_blocks += 1
        units[at] = (at ^ base) << 2 | 1 << 9 | (None in node) << 8 | label
        for byte, child in node.items():
            if byte is None:
                units[base] = 1 << 31 | child
            else:
                queue.append((base ^ byte, child, byte))
    for i, (at, value, label) in enumerate(values):
        base = n_blocks * 256 + i
        units[at] = (at ^ base) << 10 | 1 << 8 | label
        units[base] = 1 << 31 | value
    n_units = (n_blocks * 256 + len(values) + 255) // 256 * 256
    trie = [units.get(i, 0) for i in range(n_units)]
    return base64.b64encode(struct.pack("<I%dI" % n_units, n_units * 4, *trie) + texts).decode()


def make_unigram():
    r = random.Random(5)

    def score(low, high):
        while True:			# 17 digits: not every parser agrees on the last bit
            x = -r.uniform(low, high)
            if len(repr(x).replace(".", "").replace("-", "").lstrip("0")) == 17:
                return x

    pieces = {"<s>": 0.0, "<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "\u2581": score(3, 4)}
    for c in [chr(c) for c in range(0x21, 0x7F)] + list("\u00e9\u00e8\u00fc\u00df\u0430\u0431\u0432\u0438\u0439\u03b1\u03c3\u4e2d\u6587\u65e5\u672c\u304b\u304c\ud55c\u0916\u093f\u094d\u0301\u3099\u200d\u2764\U0001f600"):
        pieces[c] = score(6, 11)
    for w in WORDS:
        pieces["\u2581" + w] = score(4, 9)
        if len(w) < 4:
            pieces[w] = score(5, 10)
    for w in ["\u4e2d\u6587", "\u65e5\u672c\u8a9e", "he", "ll", "lo", "or", "th", "qu", "ick", "...", "....", "--", "\u2581\u2581", "1\u2044", "\u2581<", "<x",
              "\u0438\u0439", "e\u0301", "\u0930\u0940", "tm", "TM"]:
        pieces.setdefault(w, score(4, 9))
    # Ways that differ in their last bits only, or not at all.
    for i, w in enumerate(["z", "zz", "zzz", "zzzzz"]):
        pieces[w] = -2.5 * len(w)
    for w in ["y", "yy", "yyy", "xy", "yx", "xyx"]:
        pieces[w] = score(3, 3.0000001)
    pieces["<mask>"] = 0.0
    vocab = [[p, s] for p, s in pieces.items()]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [dict(added(c, special=True), id=i) for i, c in enumerate(["<s>", "<pad>", "</s>", "<unk>"])] +
                        [dict(added("<mask>", special=True, lstrip=True), id=len(vocab) - 1)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": charsmap(MAPPED)},
                                                           {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                      {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                           "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                    {"SpecialToken": {"id": "</s>", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}},
                                    {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                                              "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}},
        "decoder": None,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": False}}


HAND_UNIGRAM = [
    "\uff1cs\uff1e \uff1cunk\uff1e\uff1cunk\uff1eq \uff1cmask\uff1e", "a <mask> b", "<mask>", "  <mask>  ", "a<mask>\u2003\n<mask>b <mask", "\u2028<mask>\u00a0x",
    "zzzzzzzz zzzzzzzzzzzzzzzzzzzzzzz", "yyyyy xyxyxyx yxxyxyyx", "\u2581\u2581a \u2581 \u2581\u2581\u2581b\u2581", "a\u2581b \u2581c", "   ", " a ", "a  b   c    ",
    "e\u0301e\u0301\u0302 \u00bd\u0301 \uff45\u0301 \u0600e\u0301", "\u2122\u0301 \U0001f469\u200d\u2122\u0301 \u2122\u200d\u2122\u0301 \u00a9\ufe0f\u200d\u2122\u0301",
    "\u0915\u0301 \u0915\u094d\u0915\u0301 \u0915\u094d\u200d\u0915\u0301 \u0915\u200c\u094d\u0915\u0301 \u0958\u093f\u0301", "\u304b\u3099 \u304b\u3099\u3099 \uff76\uff9e",
    "\r\n a\rb\nc\r\r\nd\t\te", "\ufdfax\ufdfa\ufdfa", "\u200b \u200b  \u200b", "\uac00\u11a8\u1161\u1100\u1161 \u0e33\u0e01\u0e33", "\ufb01x\uff06\uff41\uff42", "QQ \u5b57\u5b57 a\u5b57\u5b57b",
    "...... ....... ........", "<x <s>y</s> <pad> <unk>", "\U0001d400\U0001d400\u0301", "a\u0340 \u0340\u0301",
]


def make_unigram_variants(own):
    def meta(scheme, split=True, **more):
        return dict({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split}, **more)

    map_step = {"type": "Precompiled", "precompiled_charsmap": "@charsmap"}
    strip = {"type": "Strip", "strip_left": False, "strip_right": True}
    both = {"type": "Strip", "strip_left": True, "strip_right": True}
    fold = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}
    lower = {"type": "Lowercase"}
    late = own[:4] + [added("<mask>", normalized=True, lstrip=True), added("<x>", normalized=True, rstrip=True, lstrip=True),
                      added("foo", normalized=True, single_word=True), added("Un", normalized=True)]
    return {
        "uni": {"base": "unigram.json"},
        "uni_words": {"base": "unigram.json", "normalizer": map_step,
                      "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, meta("always")]}},
        "uni_new": {"base": "unigram.json", "normalizer": {"type": "Sequence", "normalizers": [map_step, strip, fold]}},
        "uni_first": {"base": "unigram.json", "pre_tokenizer": meta("first", False)},
        "uni_never": {"base": "unigram.json", "normalizer": {"type": "Sequence", "normalizers": [both, lower]},
                      "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "add_prefix_space": False, "prepend_scheme": "never"}},
        "uni_plain": {"base": "unigram.json", "normalizer": None, "added_tokens": late},
        "uni_late": {"base": "unigram.json", "added_tokens": late},
    }


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, content):
    """A field of a protocol buffer: an int as varint, a float as fixed32, bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    if isinstance(content, float):
        return varint(number << 3 | 5) + struct.pack("<f", content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def make_spm(unigram):
    """sentencepiece.bpe.model of the same pieces, and what XLMRobertaTokenizer of transformers 5 makes of it."""
    vocab = unigram["model"]["vocab"][4:-1]
    types = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
    model = b"".join(field(1, field(1, p.encode()) + field(2, 0.0) + field(3, t)) for p, t in types)
    model += b"".join(field(1, field(1, p.encode()) + field(2, s)) for p, s in vocab)
    blob = base64.b64decode(unigram["normalizer"]["normalizers"][0]["precompiled_charsmap"])
    model += field(2, field(3, 1) + field(4, len(vocab) + 3)) + field(3, field(1, b"nmt_nfkc") + field(2, blob) + field(3, 1))
    os.makedirs(os.path.join(HERE, "spm"), exist_ok=True)
    with open(os.path.join(HERE, "spm", "sentencepiece.bpe.model"), "wb") as f:
        f.write(model)
    with open(os.path.join(HERE, "spm", "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "XLMRobertaTokenizer", "mask_token": "<mask>", "model_max_length": 512}, f)
        f.write("\n")

    single = [struct.unpack("<f", struct.pack("<f", s))[0] for _, s in vocab]
    pieces = [(p, 0.0) for p in ("<s>", "<pad>", "</s>", "<unk>")] + [(p, s) for (p, _), s in zip(vocab, single)] + [("<mask>", 0.0)]
    tok = Tokenizer(models.Unigram(pieces, 3, False))
    tok.add_special_tokens([AddedToken(t, normalized=False) for t in ("<s>", "<pad>", "</s>", "<unk>")] +
                           [AddedToken("<mask>", normalized=False)])
    tok.normalizer = normalizers.Precompiled(blob)
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                                 pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
                                                       special_tokens=[("<s>", 0), ("</s>", 2)])
    return tok


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")
UPPER, LOWER, BEFORE = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[^\r\n\p{L}\p{N}]?"
AFTER = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = "|".join([BEFORE + UPPER + "*" + LOWER + "+" + AFTER, BEFORE + UPPER + "+" + LOWER + "*" + AFTER, r"\p{N}{1,3}",
                  r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
HAND_BPE = [
    "it's I'M we'll They'RE you'd 've 'tis o'clock don\u2019t 'r 'l 'v 'le 'lll 're''s ' '' '\u017f '\u017e 's\u030c 'S\u030c",
    " 's\t's\n's 12's a'b 'a '1 '  ' \u00a0's", "'r", "a 'v", "x'l\u0301 'ls 'REx 'd1 'D", "\u2003'm \u3000don't",
    "  two   three    four ", "a\n\nb \n c  \n  \n   d\r\ne\t\tf \t g\u00a0\u00a0h\u3000\u3000 i\u2028\n\u2028j", "\n", " \n", "\n ", "\n  ", "  \n \n", "\r\n\r\n x",
    "!\n!\r\n\r!?\n \n... \n--\n a-\n\n-b", "\t\ta \tb \u00a0c \t1 \t! \n1 \n! \na", "1 12 123 1234 12345 a1b22c333 x1234567 \u0661\u0662\u0663\u0664 \u00bd\u00b2\u2460 1\u0661", " 1 \t1 -1 (12) 3.14",
    "a\u0301\u0301b e\u0323\u0302 \u1112\u1161\u11ab \u1100\u1161 \uac00\u11a8 \uac01\u11a8 \u09c7\u09be \u0b47\u0b56 \u212b\u2126 \u0958 \u2adc \ufb1d",
    "a" + "\u0301\u0323" * 20 + "b", "\u0323" + "\u0301" * 40 + "\u0316" * 3 + "c", "o" + "\u0302" * 33 + "\u0301\u0327\u031b" * 3, "e\u0334\u0301 e\u0345\u0301 \u03b1\u0345\u0314\u0301 =\u0338 \u226e",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u4e2d\u6587\u5206\u8bcd\uff0c\u6d4b\u8bd5\u3002", "x<mask>y  <mask> z <mask", "<s></s>  <pad>", "a  b   c    d     e\n    f", " " * 40 + "x" + " " * 30, "\t" * 50,
    "abc" * 200, "=" * 300, "0" * 257, "\u4e2d\u6587" * 150, "the" + "'s" * 60, "\n \n" * 40 + "\t", "\U0001f600" * 40, "word|||EMAIL||| |||EMAIL||| ||EMAIL",
    "x.\r  \u2028|||EMAIL|||!\n \n<mask>-\n\u3000bar ?\n\n\t<mask> :\n<mask>",
]


HAND_O200K = [
    "HelloWorld iPhone HTTPServer getURLPath ABCdef aBC A AA Aa aA \u01c5a\u01c5 \u01c5\u01c5A", "don'T CAN'T We'LL He'sX 'Sx a'sS IT'S's \u00c9t\u00e9 \u00c9T\u00c9 ",
    "\u4e2dABC \u4e2dABCd \u4e2d\u6587ABC\u4e2d \u4e2d" + "A" * 60 + " \u4e2d" + "A" * 50 + "\u4e2d", "a\u0301A\u0301 \u0301A \u0301a \u02b0A\u02b0 A\u0903b",
    "http://a.b/c//d/ ///\n/\n !/\r\n/x -/ 1/2 \n\n/", "\u043f\u0440\u0418\u0412\u0435\u0442 \u039f\u0394\u039f\u03a3\u03c2 \u1e9e\u00df \u10a0\u10d0\u1c90 \uff21\uff42",
]


def split(regex, behavior="Isolated", invert=False):
    return {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}]}


def make_bpe_variants(bpe):
    own, model = bpe["added_tokens"], bpe["model"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    spaces = [added(" " * n, normalized=True) for n in (5, 4, 3, 2)]
    late = own + spaces + [added("|||EMAIL|||", normalized=True), added("Caf\u00e9", normalized=True), added("un", normalized=True, single_word=True)]
    eaters = own + [added("|||EMAIL|||", normalized=True, lstrip=True, rstrip=True), added("foo", rstrip=True), added("bar", normalized=True, lstrip=True)]
    no_template = {"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
                                                      {"type": "BertProcessing", "sep": bpe["post_processor"]["sep"], "cls": bpe["post_processor"]["cls"]}]}
    # Merges in another order, and pieces that no merge leads to.
    turned = dict(model, merges=[" ".join(m) for m in model["merges"][::-1]], ignore_merges=True, continuing_subword_prefix="", end_of_word_suffix="")
    # Bytes without a character of their own are dropped, or unknown.
    missing = {p for p in "QZqz\u0120\u00a6\u00c3\u0141" if p in model["vocab"]}
    vocab = {p: i for p, i in model["vocab"].items() if p not in missing}
    merges = [m for m in model["merges"] if not missing & set("".join(m))]
    vocab = {p: i for p, i in vocab.items() if len(p) == 1 or p[0] == "<" or not missing & set(p)}
    return {
        "bpe": {"base": "bpe.json"},
        "bpe_prefix": {"base": "bpe.json", "pre_tokenizer": byte_level},
        "bpe_modern": {"base": "bpe.json", "normalizer": {"type": "NFC"}, "added_tokens": late, "post_processor": no_template},
        "bpe_eaters": {"base": "bpe.json", "normalizer": {"type": "NFC"}, "added_tokens": eaters, "pre_tokenizer": split(QWEN2)},
        "bpe_qwen2": {"base": "bpe.json", "normalizer": {"type": "NFC"}, "pre_tokenizer": split(QWEN2),
                      "post_processor": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}},
        "bpe_llama3": {"base": "bpe.json", "normalizer": None, "pre_tokenizer": split(LLAMA3, "Removed", True), "model": turned, "post_processor": None},
        "bpe_lower": {"base": "bpe.json", "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
                      "pre_tokenizer": dict(byte_level, use_regex=False)},
        "bpe_dropped": {"base": "bpe.json", "model": dict(model, vocab=vocab, merges=merges), "pre_tokenizer": split(GPT2)},
        "bpe_unknown": {"base": "bpe.json", "model": dict(model, vocab=vocab, merges=merges, unk_token="<unk>"), "pre_tokenizer": split(GPT2)},
    }


HAND_CHARS = [
    "a  b   c    d", " leading", "trailing  ", "\u2581x\u2581\u2581y \u2581", "\U0001f600\U0001f600 \u5b57\u5b57a\u5b57 \u0915\u094d\u0937", "<0xE4><0x0A> \x01\x7f", "a<mask>b  <mask> c",
    "x\n\ny\n\n\n\nz\t\t\tw", "<h1>the</h1> <h1 > <unk><unk>", "\u00e9e\u0301E\u0301", "the " * 40, "thethethe" * 30, "\U0001f600" * 50, " " * 70, "the\u3000the\u00a0the", "zz zzz  zz",
]


def make_chars(bpe):
    """BPE of characters as SentencePiece's converters write it (Gemma): the words of bpe.json's merges, spelled plainly."""
    plain = {chr(c): chr(c) for c in range(0x21, 0x7F)}
    plain["\u0120"] = "\u2581"
    words = [p for p in bpe["model"]["vocab"] if all(c in plain for c in p)]
    vocab = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"] + ["<0x%02X>" % b for b in range(256)]
    vocab += [plain[w] for w in words if len(w) == 1] + list("\u00e9\u00fc\u0430\u0431\u4e2d\u6587\u3042\n\u00c9")
    pairs = [(a, b) for a, b in map(tuple, bpe["model"]["merges"]) if all(c in plain for c in a + b)][:500]
    merges = [["".join(plain[c] for c in x) for x in pair] for pair in pairs]
    for n in (2, 4, 8, 16):
        merges += [["\u2581" * (n // 2)] * 2]
    merges += [["\u4e2d", "\u6587"], ["\u2581", "\u4e2d\u6587"], ["\u0430", "\u0431"], ["\n", "\n"], ["e", "\u2581the"], ["\u00e9", "t"]]
    for a, b in merges:
        if a + b not in vocab:
            vocab.append(a + b)
    ids = {p: i for i, p in enumerate(vocab)}
    merges = [m for m in merges if m[0] in ids and m[1] in ids]
    specials = [dict(added(t, special=True), id=ids[t]) for t in ("<pad>", "<eos>", "<bos>", "<unk>")] + [dict(added("<mask>", special=True, lstrip=True), id=ids["<mask>"])]
    more = [dict(added(t), id=len(vocab) + i) for i, t in enumerate(("\n\n\n", "\t\t", "<h1>", "\u2581\u2581\u2581"))]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": specials + more,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                      {"SpecialToken": {"id": "<eos>", "type_id": 0}}],
                           "pair": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                    {"SpecialToken": {"id": "<bos>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in ("<bos>", "<eos>")}},
        "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                  "byte_fallback": True, "ignore_merges": False, "vocab": ids, "merges": merges}}


HAND_FORMS = [
    "\ufb01n\ufb03 \u2460\u00b2\u00bd \uff21\uff42\uff11 \u3392 \ufdfa \u2126\u212b", "e\u0301\u0323 \u1ec7 a\u0308\u0301 \u01d7 q\u0307\u0323 \u0344", "\uff76\uff9e \uff8a\uff9f \u30ab\u3099 \uffa1\uffc2 \u3131",
    "\u1112\u1161\u11ab \uac01\u11a8 \u1100\uac00", "a\x01b\x7fc\td\u200be\u200df\ufeffg\u2028h\u2581i\ufffdj\u1680k\x8fl\x85m", "\u0939\u093f\u0902 \u0e01\u0e33 \u0915\u094d\u0937 \u20dd\u20e3",
    "x" + "\u0301\u0323" * 30 + "\u0345y", "\u1e9b\u0323 \u1e9b \u03d3 \u03d4 \u017f\u0307", "\uff9e\uff76 \u00a8a \u2474 \u2002\u2003 \u00a0x",
]


def make_forms_variants():
    """Unigram after the forms of Unicode, alone and among other steps."""
    def steps(*names):
        return {"type": "Sequence", "normalizers": [{"type": n} if isinstance(n, str) else n for n in names]}

    fold = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    map_step = {"type": "Precompiled", "precompiled_charsmap": "@charsmap"}
    return {
        "form_nfkc": {"base": "unigram.json", "normalizer": steps("Nmt", "NFKC", fold)},
        "form_nfd": {"base": "unigram.json", "normalizer": steps("NFD", "StripAccents", "Lowercase")},
        "form_nfkd": {"base": "unigram.json", "normalizer": steps("NFKD", "StripAccents", "Lowercase", map_step, fold)},
        "form_late": {"base": "unigram.json", "normalizer": steps(map_step, "Lowercase", {"type": "Strip", "strip_left": True, "strip_right": True}, "NFKC", "Nmt")},
        "form_one": {"base": "unigram.json", "normalizer": steps("NFC")},
        "form_accents": {"base": "unigram.json", "normalizer": {"type": "StripAccents"}},
    }


def make_chars_variants(chars):
    """Llama's pipelines, old and new; without pieces for bytes; with tokens matched late."""
    replace, own = chars["normalizer"], chars["added_tokens"]

    def meta(scheme, split):
        return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split}

    late = own[:5] + [added("\u2581\u2581", normalized=True), added("the", normalized=True, single_word=True), added("zz", normalized=True, lstrip=True)]
    return {
        "chars": {"base": "chars.json"},
        "chars_llama": {"base": "chars.json", "added_tokens": own[:4], "pre_tokenizer": None,
                        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, replace]}},
        "chars_first": {"base": "chars.json", "normalizer": None, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [meta("first", False)]}},
        "chars_split": {"base": "chars.json", "normalizer": None, "pre_tokenizer": meta("always", True)},
        "chars_unknown": {"base": "chars.json", "pre_tokenizer": None, "model": dict(chars["model"], byte_fallback=False)},
        "chars_apart": {"base": "chars.json", "pre_tokenizer": None, "model": dict(chars["model"], byte_fallback=False, fuse_unk=False), "added_tokens": own[:4]},
        "chars_late": {"base": "chars.json", "pre_tokenizer": None, "added_tokens": late[:7],
                       "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, replace]}},
        "chars_eater": {"base": "chars.json", "pre_tokenizer": None, "added_tokens": late[:5] + late[7:]},
    }


def make_more_variants(bpe):
    """Newer ones, after the others so that those keep their random texts."""
    late = bpe["added_tokens"] + [added("  ", normalized=True), added("ab", normalized=True, single_word=True), added("<eat>", lstrip=True)]
    return {
        "bpe_o200k": {"base": "bpe.json", "pre_tokenizer": split(O200K)},
        "bpe_o200k_late": {"base": "bpe.json", "normalizer": {"type": "NFC"}, "added_tokens": late, "pre_tokenizer": split(O200K)},
    }


def make_roberta(bpe):
    """vocab.json and merges.txt of the same pieces, and what transformers' RobertaConverter makes of them."""
    folder = os.path.join(HERE, "roberta")
    os.makedirs(folder, exist_ok=True)
    vocab = dict(bpe["model"]["vocab"])
    vocab["<mask>"] = len(vocab)
    merges = [tuple(m) for m in bpe["model"]["merges"]]
    with open(os.path.join(folder, "vocab.json"), "w") as f:
        json.dump(vocab, f)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join("%s %s\n" % m for m in merges))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True, "model_max_length": 512}, f)
        f.write("\n")
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, dropout=None, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False))
    tok.add_special_tokens([AddedToken(t, normalized=False) for t in ("<s>", "<pad>", "</s>", "<unk>")] + [AddedToken("<mask>", normalized=False)])
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tok.post_processor = processors.RobertaProcessing(("</s>", vocab["</s>"]), ("<s>", vocab["<s>"]), True, True)
    return tok


def fill_charsmap(value, charsmap):
    if isinstance(value, dict):
        return {k: fill_charsmap(v, charsmap) for k, v in value.items()}
    if isinstance(value, list):
        return [fill_charsmap(v, charsmap) for v in value]
    return charsmap if value == "@charsmap" else value


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
    unigram = make_unigram()
    with open(os.path.join(HERE, "unigram.json"), "w") as f:
        json.dump(unigram, f, separators=(",", ":"))
        f.write("\n")
    chars = make_chars(json.load(open(os.path.join(HERE, "bpe.json"), encoding="utf-8")))
    with open(os.path.join(HERE, "chars.json"), "w") as f:
        json.dump(chars, f, separators=(",", ":"))
        f.write("\n")
    bases = {name: json.load(open(os.path.join(HERE, name), encoding="utf-8")) for name in ("cls.json", "cased.json", "unigram.json", "bpe.json", "chars.json")}
    map_text = unigram["normalizer"]["normalizers"][0]["precompiled_charsmap"]
    variants = make_variants(bases["cls.json"])
    variants.update(make_unigram_variants(unigram["added_tokens"]))
    variants["uni_spm"] = {"dir": "spm"}
    variants.update(make_bpe_variants(bases["bpe.json"]))
    variants["bpe_roberta"] = {"dir": "roberta"}
    variants.update(make_more_variants(bases["bpe.json"]))
    variants.update(make_chars_variants(chars))
    variants.update(make_forms_variants())
    r = random.Random(20240607)
    lines = []
    for name, variant in variants.items():
        if "dir" in variant:
            tok = make_spm(unigram) if variant["dir"] == "spm" else make_roberta(bases["bpe.json"])
        else:
            changes = {k: fill_charsmap(v, map_text) for k, v in variant.items() if k != "base"}
            tok = Tokenizer.from_str(json.dumps({**bases[variant["base"]], **changes}))
        if name.startswith("chars"):
            texts = HAND_CHARS + HAND[4:30:3] + HAND_BPE[::6] + [random_text(r) for _ in range(15)]
        elif name.startswith("bpe"):
            whole = name in ("bpe", "bpe_modern", "bpe_qwen2")
            texts = (HAND_O200K if "o200k" in name else []) + HAND_BPE[::1 if whole else 3] + (HAND if name == "bpe_modern" else HAND[4:30:3]) + [random_text(r) for _ in range(20)]
        elif name.startswith("form"):
            texts = HAND_FORMS + HAND[4:30:2] + HAND_BPE[11:17] + [random_text(r) for _ in range(15)]
        elif variant.get("base", "unigram.json") == "unigram.json":
            texts = HAND_UNIGRAM + (HAND if name == "uni" else HAND[4:30:3]) + [random_text(r) for _ in range(60 if name == "uni" else 25)]
        else:
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
        f.write("{\n" + ",\n".join("%s: %s" % (json.dumps(k), json.dumps(v)) for k, v in variants.items()) + "\n}\n")
    with open(os.path.join(HERE, "golden.jsonl"), "w") as f:
        for line in lines:
            f.write(json.dumps(line, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
