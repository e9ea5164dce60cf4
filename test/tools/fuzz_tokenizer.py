#!/usr/bin/env python3
"""Token ids of generated strings, ours against the reference library's.

    make -f core.mk build/core/bench/tokenizer
    python3 test/tools/fuzz_tokenizer.py [-n 1000000] [-s SEED] build/core/bench/tokenizer tokenizer.json ...

Strings of many scripts, of the vocabulary's own pieces, of what the normalizer
replaces, with combining marks, joined emoji, controls, all white space and line
ends, contractions, look-alikes of special tokens, and runs of one character. Prints the strings whose
ids differ and exits with 1 if there are any. Needs the package tokenizers.
"""
import argparse
import json
import os
import random
import struct
import subprocess
import sys

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer

SPACES = [chr(c) for c in [9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F,
                           0x3000]]
INVISIBLE = [chr(c) for c in [*range(1, 32), *range(0x7F, 0xA0), 0xAD, 0x200B, 0x200C, 0x200D, 0x200E, 0x2060, 0xFEFF, 0xFFFD,
                              0xFE0F, 0xFE0E, 0xE0061, 0xE0001, 0xD7FF, 0xE000, 0xFFFF, 0x10FFFF]]
MARKS = [chr(c) for c in [*range(0x300, 0x370), 0x483, 0x591, 0x5BF, 0x64B, 0x670, 0x93C, 0x94D, 0x9BC, 0x9CD, 0xE31, 0xE33, 0xE47,
                          0x1AB0, 0x1DC0, 0x20DD, 0x20E3, 0x3099, 0x309A, 0xFE20, 0x1D165, 0x1E94A, 0x903, 0x93E, 0xBBE]]
RANGES = [(0x20, 0x7E, 8), (0xA0, 0x17F, 4), (0x180, 0x24F, 1), (0x370, 0x3FF, 2), (0x400, 0x52F, 3), (0x530, 0x5FF, 1),
          (0x600, 0x6FF, 2), (0x900, 0x97F, 3), (0x980, 0xDFF, 2), (0xE00, 0xEFF, 2), (0xF00, 0x10FF, 1), (0x1100, 0x11FF, 2),
          (0x1200, 0x1FFF, 2), (0x2000, 0x2BFF, 3), (0x2C00, 0x2FFF, 1), (0x3000, 0x30FF, 3), (0x3100, 0x33FF, 2),
          (0x3400, 0x4DBF, 1), (0x4E00, 0x9FFF, 5), (0xA000, 0xABFF, 1), (0xAC00, 0xD7A3, 3), (0xD7B0, 0xD7FB, 1),
          (0xF900, 0xFAFF, 2), (0xFB00, 0xFDFF, 2), (0xFE00, 0xFEFF, 1), (0xFF00, 0xFFEF, 3), (0x10000, 0x107FF, 1),
          (0x10A00, 0x11FFF, 1), (0x1D400, 0x1D7FF, 2), (0x1F000, 0x1FAFF, 3), (0x20000, 0x2FA1F, 1), (1, 0x10FFFF, 1)]
EMOJI = ["\U0001F469", "\U0001F468", "\U0001F3FD", "\u200d", "\ufe0f", "\u2764", "\u2640", "\u00a9", "\u2122", "\u24c2", "\u3297",
         "\U0001F1E9", "\U0001F1EA", "\u0301", "1", "\u20e3", "\U0001F600"]
INDIC = list("\u0915\u0937\u0924\u0930\u094d\u094d\u093c\u0958\u0301\u200c\u200d\u093f\u0903\u09b0\u09cd\u0995\u0d4d\u0d15\u0600")
JAMO = list("\u1100\u1112\u1161\u1175\u11a8\u11c2\uac00\uac01\ud7b0\ud7cb\u0301\u3131\uffa1")
LOOKALIKES = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "<MASK>", "< mask>", "<mask",
              "mask>", "\uff1cs\uff1e", "\uff1cunk\uff1e", "\uff1c/s\uff1e", "\uff1cmask\uff1e", "<\u200bs>", "<unk><unk>",
              "\u2581", "\u2581\u2581", "<0x0A>", "##a", "[mask]", "<<s>>", "<|im_start|>", "<|endoftext|>", "|||IP_ADDRESS|||",
              "<h1>", "\n\n\n", "\t\t", "<0xE4>"]
CONTRACTIONS = [q + c for q in "'\u2019" for c in ["s", "t", "re", "ve", "m", "ll", "d", "S", "RE", "vE", "\u017f", "r", "v", "l", "x", "s\u030c", ""]]
LINES = [" ", " ", "\n", "\r\n", "\t", "\u00a0", "\n\n", "  ", "!\n", ".\r", "-", "1", "a", "\u3000", "\u2028"]


def byte_alphabet():
    """The characters that ByteLevel writes for bytes, and the bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {**{chr(b): b for b in printable}, **{chr(256 + i): b for i, b in enumerate(others)}}


class Strings:
    def __init__(self, seed, vocabulary):
        self.r = random.Random(seed)
        self.vocabulary = vocabulary
        self.weights = [w for _, _, w in RANGES]

    def char(self):
        low, high, _ = self.r.choices(RANGES, self.weights)[0]
        c = self.r.randint(low, high)
        return "\ufffd" if 0xD800 <= c <= 0xDFFF else chr(c)

    def script(self, n):
        low, high, _ = self.r.choices(RANGES[:-1], self.weights[:-1])[0]
        return "".join(chr(self.r.randint(low, high)) for _ in range(n))

    def part(self):
        r = self.r
        n = r.choice([1, 1, 2, 2, 3, 4, 6, 9])
        kind = r.randrange(19)
        if kind == 0:
            return "".join(self.char() for _ in range(n))
        if kind == 1:
            return self.script(n)
        if kind == 2:
            return self.script(1) + "".join(r.choice(MARKS) for _ in range(r.choice([1, 1, 1, 2, 5])))
        if kind == 3:
            return "".join(r.choice(SPACES) for _ in range(n))
        if kind == 4:
            return r.choice(INVISIBLE)
        if kind == 5:
            return "".join(r.choice(EMOJI) for _ in range(n))
        if kind == 6:
            return "".join(r.choice(INDIC) for _ in range(n))
        if kind == 7:
            return "".join(r.choice(JAMO) for _ in range(n))
        if kind == 8:
            return r.choice(LOOKALIKES)
        if kind == 9:
            c = r.choice(["a", ".", "-", "=", "!", "0", "\u4e2d", "\u3042", "\u0e01", "\u0430", "ha", self.char()])
            return c * r.choice([2, 3, 5, 8, 13, 40])
        if kind == 10:
            return "".join(chr(r.randint(97, 122)) for _ in range(n))
        if kind == 11:
            return str(r.randint(0, 10 ** n))
        if kind == 12:
            return " " * r.choice([1, 1, 1, 2, 3])
        if kind == 13:
            return r.choice(["it", "", "12", " ", "\n", "\u4e2d", "!"]) + r.choice(CONTRACTIONS)
        if kind == 14:
            return "".join(r.choice(LINES) for _ in range(n))
        return r.choice(self.vocabulary).replace("\u2581", r.choice([" ", " ", "", "\u2581"]))

    def string(self):
        return "".join(self.part() for _ in range(self.r.choice([1, 2, 3, 5, 8, 12]))).replace("\0", "")


def ours(program, batch):
    data = b"".join(struct.pack("<I", len(t)) + t for t in batch)
    out = subprocess.run(program + ["serve"], input=data, stdout=subprocess.PIPE, check=True).stdout
    ids, at = [], 0
    while at < len(out):
        n, = struct.unpack_from("<i", out, at)
        ids.append(list(struct.unpack_from("<%di" % max(n, 0), out, at + 4)))
        at += 4 + 4 * max(n, 0)
    assert len(ids) == len(batch)
    return ids


def compare(program, path, n, seed):
    """How many of n strings differ, and a few of them."""
    with open(path, encoding="utf-8") as f:
        doc = json.load(f)
    vocab = doc["model"]["vocab"]
    pieces = sorted(vocab) if isinstance(vocab, dict) else [p for p, _ in vocab]
    doc["truncation"] = doc["padding"] = None
    reference = Tokenizer.from_str(json.dumps(doc) if doc["model"].get("type") != "Unigram" else open(path, encoding="utf-8").read())
    reference.no_truncation()
    reference.no_padding()
    if doc["model"].get("type") == "BPE" and "ByteLevel" in json.dumps(doc["pre_tokenizer"]):
        alphabet = byte_alphabet()
        pieces = [bytes(alphabet[c] for c in p).decode(errors="ignore") for p in pieces if all(c in alphabet for c in p)]
    strings = Strings(seed, [p for p in pieces if p])
    wrong = []
    for done in range(0, n, 20000):
        batch = [strings.string() for _ in range(min(20000, n - done))]
        for text, got in zip(batch, ours([program, path], [t.encode() for t in batch])):
            want = reference.encode(text).ids
            if got != want:
                wrong.append((text, want, got))
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-n", type=int, default=10000)
    parser.add_argument("-s", type=int, default=1)
    parser.add_argument("program")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    failed = False
    for path in args.files:
        wrong = compare(args.program, path, args.n, args.s)
        print("%s: %d of %d strings differ" % (path, len(wrong), args.n))
        for text, want, got in sorted(wrong, key=lambda w: len(w[0]))[:10]:
            print("  %s\n    library %s\n    ours    %s" % (ascii(text), want, got))
        failed |= bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
