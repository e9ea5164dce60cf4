#!/usr/bin/env python3
"""Reference results of texts as long as the boundaries that go wrong elsewhere.

    python3 test/tools/make_long_texts.py       (needs numpy, safetensors, tokenizers; from the top of the tree)

The model is test/data/tiny/bge-m3 with its 132 rows of positions made 8,194:
row p of those from 2 on is row 2 + (p - 2) % 130 times 1 + ((p - 2) // 130) / 64,
in float32. A text of n tokens is n - 2 words, word k being
words[(7 k k + 13 k) % len(words)], each of them one token, joined by spaces.
Computed in float64 from the definition (XLM-RoBERTa and BGE-M3's heads, see
docs/models/), sharing no code with anything. Writes test/data/long/:

    texts.json      {"words", "lengths"}
    dense.npy       [lengths, 64] normalized vectors
    sparse.npy      [lengths, 996] weights by token id, 0 where there is none
    multi.npy       [lengths * 6, 64] vectors of tokens 1, 2, n/2, n/2 + 1, n - 2, n - 1
"""
import json
import math
import pathlib
import zipfile

import numpy
from safetensors.numpy import load_file
from tokenizers import Tokenizer

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
MODEL = DATA / "tiny/bge-m3/model"
POSITIONS = 8194
LENGTHS = [2, 3, 130, 511, 512, 513, 514, 1023, 1024, 1025, 1026, 2047, 2048, 2049, 4095, 4096, 4097, 4098, 8190, 8191, 8192]
N_WORDS = 61
HEADS, HEAD_SIZE, EPS = 4, 16, 1e-5


def load_weights():
    w = load_file(MODEL / "model.safetensors")
    table = w["embeddings.position_embeddings.weight"]
    rows = [table[0], table[1]]
    for p in range(POSITIONS - 2):
        rows.append(table[2 + p % 130] * numpy.float32(1 + (p // 130) / 64))
    w["embeddings.position_embeddings.weight"] = numpy.stack(rows)
    w.update(read_torch_linear("colbert_linear", 64))
    w.update(read_torch_linear("sparse_linear", 1))
    return {name: value.astype(numpy.float64) for name, value in w.items()}


def read_torch_linear(name, n_out):
    """torch.save's zip: data/0 is the first tensor of the state dict, the weight."""
    with zipfile.ZipFile(MODEL / (name + ".pt")) as z:
        members = {m.rsplit("/data/", 1)[1]: z.read(m) for m in z.namelist() if "/data/" in m}
    tensors = [numpy.frombuffer(members[key], "<f4") for key in sorted(members)]
    weight = next(t for t in tensors if t.size == n_out * 64)
    bias = next(t for t in tensors if t.size == n_out)
    return {name + ".weight": weight.reshape(n_out, 64), name + ".bias": bias}


def norm(x, w, name):
    d = x - x.mean(axis=-1, keepdims=True)
    return d / numpy.sqrt((d * d).mean(axis=-1, keepdims=True) + EPS) * w[name + ".weight"] + w[name + ".bias"]


def linear(x, w, name):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


ERF = numpy.vectorize(math.erf)


def attention(x, w, layer):
    q, k, v = (linear(x, w, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
    context = numpy.empty_like(x)
    for head in range(HEADS):
        part = slice(head * HEAD_SIZE, (head + 1) * HEAD_SIZE)
        for first in range(0, len(x), 1024):
            scores = q[first:first + 1024, part] @ k[:, part].T / numpy.sqrt(HEAD_SIZE)
            scores = numpy.exp(scores - scores.max(axis=1, keepdims=True))
            context[first:first + 1024, part] = scores @ v[:, part] / scores.sum(axis=1, keepdims=True)
    return context


def hidden_states(ids, w):
    ids = numpy.array(ids)
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x + w["embeddings.position_embeddings.weight"][2:2 + len(ids)], w, "embeddings.LayerNorm")
    for i in range(2):
        layer = f"encoder.layer.{i}"
        x = norm(linear(attention(x, w, layer), w, f"{layer}.attention.output.dense") + x, w, f"{layer}.attention.output.LayerNorm")
        y = linear(x, w, f"{layer}.intermediate.dense")
        y = y / 2 * (1 + ERF(y / numpy.sqrt(2)))
        x = norm(linear(y, w, f"{layer}.output.dense") + x, w, f"{layer}.output.LayerNorm")
    return x


def unit(x):
    return x / numpy.sqrt((x * x).sum(axis=-1, keepdims=True))


def choose_words(tokenizer):
    words = []
    for piece, token in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        word = piece[1:]
        if piece[0] == "▁" and len(word) >= 3 and word.isascii() and word.isalpha() and \
                tokenizer.encode(f"{word} {word}", add_special_tokens=False).ids == [token, token]:
            words.append(word)
    return words[:N_WORDS]


def text_of(words, n_tokens):
    return " ".join(words[(7 * k * k + 13 * k) % len(words)] for k in range(n_tokens - 2))


def main():
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    words = choose_words(tokenizer)
    w = load_weights()
    dense, sparse, multi = [], [], []
    for n in LENGTHS:
        ids = tokenizer.encode(text_of(words, n)).ids
        assert len(ids) == n
        x = hidden_states(ids, w)
        dense.append(unit(x[0]))
        weights = numpy.zeros(996)
        numpy.maximum.at(weights, ids, numpy.maximum(linear(x, w, "sparse_linear")[:, 0], 0))
        weights[:4] = 0
        sparse.append(weights)
        rows = unit(linear(x, w, "colbert_linear"))
        multi.extend(rows[min(k, n - 1)] for k in (1, 2, n // 2, n // 2 + 1, n - 2, n - 1))
        print(n, dense[-1][:2])
    (DATA / "long").mkdir(exist_ok=True)
    (DATA / "long/texts.json").write_text(json.dumps({"words": words, "lengths": LENGTHS}) + "\n")
    for name, values in (("dense", dense), ("sparse", sparse), ("multi", multi)):
        numpy.save(DATA / "long" / (name + ".npy"), numpy.array(values).astype(numpy.float32))


main()
