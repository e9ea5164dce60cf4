#!/usr/bin/env python3
"""Tokenizers against the reference library's, one thread.

    make -f core.mk build/core/bench/tokenizer
    python3 bench/tokenizer_speed.py [--rounds 5] build/core/bench/tokenizer tokenizer.json ...

Megabytes of UTF-8 a second of CPU time, the best of all passes of both, turn by turn, special tokens included; and the ratio,
with the least and the most of the rounds' own. Texts: package descriptions (bench/corpus.py); pieces of the tokenizer's own
vocabulary, all scripts mixed, with and without spaces between; a megabyte of one letter. The library caches words. Needs the
package tokenizers."""
import argparse
import json
import os
import random
import struct
import subprocess
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer

import corpus


def bytes_of(piece):
    """The text of a piece in ByteLevel's alphabet, without the leading space"""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(b): b for b in printable}
    alphabet.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)})
    return bytes(alphabet[c] for c in piece if c in alphabet).decode(errors="ignore").strip().replace("\0", "")


def texts_of(path):
    """(name, texts) of each kind"""
    with open(path, encoding="utf-8") as f:
        doc = json.load(f)
    model, pre_tokenizer = doc["model"], doc["pre_tokenizer"]
    vocab = model["vocab"]
    pieces = [p.replace("\u2581", "").replace("##", "") for p in (sorted(vocab) if isinstance(vocab, dict) else (p for p, _ in vocab))]
    if model.get("type") == "BPE" and "ByteLevel" in json.dumps(pre_tokenizer):
        pieces = [p for p in map(bytes_of, pieces) if p]
    r = random.Random(3)

    def mixed(between, n):
        return [between.join(r.choice(pieces) for _ in range(200)) for _ in range(n)]

    return [("descriptions", corpus.descriptions()[:2000]), ("pieces, spaces between", mixed(" ", 300)),
            ("pieces, no spaces", mixed("", 300)), ("1 MB of one letter", ["a" * 1000000])]


def ours(program, path, texts, seconds):
    data = b"".join(struct.pack("<I", len(t)) + t for t in texts)
    out = subprocess.run([program, path, "time", str(seconds)], input=data, stdout=subprocess.PIPE, check=True).stdout.split()
    return float(out[1]), int(out[2])


def library(tok, texts, seconds):
    best, end = 1e9, time.process_time() + seconds
    while True:
        start = time.process_time()
        n = sum(len(tok.encode(t).ids) for t in texts)
        now = time.process_time()
        best = min(best, now - start)
        if now > end:
            return best, n


def measure(program, path, rounds, seconds):
    tok = Tokenizer.from_file(path)
    tok.no_truncation()
    tok.no_padding()
    for name, texts in texts_of(path):
        raw = [t.encode() for t in texts]
        mb = sum(map(len, raw)) / 1e6
        times = []
        for _ in range(rounds):
            theirs, n_theirs = library(tok, texts, seconds)
            mine, n_mine = ours(program, path, raw, seconds)
            if n_mine != n_theirs:
                raise SystemExit("%s, %s: %d ids, the library returns %d" % (path, name, n_mine, n_theirs))
            times.append((theirs, mine))
        ratios = sorted(a / b for a, b in times)
        theirs, mine = (min(t[k] for t in times) for k in (0, 1))
        print("| %s | %s | %.2f | %.1f | %.1fx (%.1f to %.1f) |" % (os.path.basename(os.path.dirname(path) or path), name, mb / mine, mb / theirs,
                                                                    theirs / mine, ratios[0], ratios[-1]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("program")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    print("| tokenizer | texts | embed, MB/s | tokenizers, MB/s | ratio |\n| --- | --- | --- | --- | --- |")
    for path in args.files:
        measure(args.program, path, args.rounds, args.seconds)


if __name__ == "__main__":
    main()
