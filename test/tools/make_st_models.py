#!/usr/bin/env python3
"""Writes a tiny sentence-transformers model and what it gives, computed in double.

    make_st_models.py DEST              (needs numpy)

DEST/bert-dense: a BERT of random weights, max pooling, Dense (tanh, in a
pytorch_model.bin), Normalize, Dense (no bias, no activation, safetensors),
Normalize. Seeded: the same bytes every time.
"""
import json
import math
import os
import struct
import sys

import numpy as np

from make_torch_files import save_zip

HIDDEN, LAYERS, HEADS, WIDE, POSITIONS, DENSE, DIM = 24, 2, 3, 40, 48, 20, 14
WORDS = ("the of and to in a is that for on with as by at from this be are or an it not which have database server text vector "
         "table row query index model token").split()
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + WORDS
PREFIX = "sentence_transformers.models."


def weights(rng):
    def matrix(*shape):
        return rng.normal(0, 1.2 / math.sqrt(shape[-1]), shape).astype(np.float32)

    def norm(name):
        return {name + ".weight": rng.normal(1, 0.1, HIDDEN).astype(np.float32), name + ".bias": rng.normal(0, 0.1, HIDDEN).astype(np.float32)}

    def linear(name, n_out, n_in):
        return {name + ".weight": matrix(n_out, n_in), name + ".bias": rng.normal(0, 0.1, n_out).astype(np.float32)}

    w = {"embeddings.word_embeddings.weight": matrix(len(VOCAB), HIDDEN) * 4,
         "embeddings.position_embeddings.weight": matrix(POSITIONS, HIDDEN),
         "embeddings.token_type_embeddings.weight": matrix(2, HIDDEN)}
    w.update(norm("embeddings.LayerNorm"))
    for i in range(LAYERS):
        at = "encoder.layer.%d." % i
        for part in ("query", "key", "value"):
            w.update(linear(at + "attention.self." + part, HIDDEN, HIDDEN))
        w.update(linear(at + "attention.output.dense", HIDDEN, HIDDEN))
        w.update(norm(at + "attention.output.LayerNorm"))
        w.update(linear(at + "intermediate.dense", WIDE, HIDDEN))
        w.update(linear(at + "output.dense", HIDDEN, WIDE))
        w.update(norm(at + "output.LayerNorm"))
    return w, linear("linear", DENSE, HIDDEN), {"linear.weight": matrix(DIM, DENSE)}


def bert(w, ids):
    w = {name: value.astype(np.float64) for name, value in w.items()}

    def norm(x, name):
        d = x - x.mean(axis=-1, keepdims=True)
        return d / np.sqrt((d * d).mean(axis=-1, keepdims=True) + 1e-12) * w[name + ".weight"] + w[name + ".bias"]

    def linear(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    size = HIDDEN // HEADS
    for i in range(LAYERS):
        at = "encoder.layer.%d." % i
        q, k, v = (linear(x, at + "attention.self." + part).reshape(len(ids), HEADS, size).transpose(1, 0, 2) for part in ("query", "key", "value"))
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(size)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        context = (scores / scores.sum(axis=-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), HIDDEN)
        x = norm(x + linear(context, at + "attention.output.dense"), at + "attention.output.LayerNorm")
        wide = linear(x, at + "intermediate.dense")
        wide = wide / 2 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = norm(x + linear(wide, at + "output.dense"), at + "output.LayerNorm")
    return x


def normalized(x):
    return x / max(np.sqrt((x * x).sum()), 1e-12)


def vector(w, first, second, ids):
    x = bert(w, ids).max(axis=0)
    x = np.tanh(first["linear.weight"].astype(np.float64) @ x + first["linear.bias"])
    return normalized(second["linear.weight"].astype(np.float64) @ normalized(x))


def save_safetensors(tensors, path):
    header, data = {}, b""
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), len(data) + value.nbytes]}
        data += value.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def save_json(value, path):
    with open(path, "w") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def main():
    rng = np.random.default_rng(11)
    dest = os.path.join(sys.argv[1], "bert-dense")
    model = os.path.join(dest, "model")
    for sub in ("1_Pooling", "2_Dense", "4_Dense"):
        os.makedirs(os.path.join(model, sub), exist_ok=True)
    w, first, second = weights(rng)
    save_safetensors(w, os.path.join(model, "model.safetensors"))
    save_zip({name: ("F32", list(value.shape), value.tobytes()) for name, value in first.items()}, os.path.join(model, "2_Dense", "pytorch_model.bin"))
    save_safetensors(second, os.path.join(model, "4_Dense", "model.safetensors"))
    save_json({"model_type": "bert", "architectures": ["BertModel"], "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
               "num_attention_heads": HEADS, "intermediate_size": WIDE, "vocab_size": len(VOCAB), "max_position_embeddings": POSITIONS,
               "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12}, os.path.join(model, "config.json"))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize"), ("4_Dense", "Dense"), ("5_Normalize", "Normalize")]
    save_json([{"idx": i, "name": str(i), "path": path, "type": PREFIX + kind} for i, (path, kind) in enumerate(modules)], os.path.join(model, "modules.json"))
    save_json({"word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True},
              os.path.join(model, "1_Pooling", "config.json"))
    save_json({"in_features": HIDDEN, "out_features": DENSE, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"},
              os.path.join(model, "2_Dense", "config.json"))
    save_json({"in_features": DENSE, "out_features": DIM, "bias": False, "activation_function": "torch.nn.modules.linear.Identity",
               "module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}, os.path.join(model, "4_Dense", "config.json"))
    save_json({"max_seq_length": POSITIONS, "do_lower_case": False}, os.path.join(model, "sentence_bert_config.json"))
    save_json({"do_lower_case": True, "model_max_length": POSITIONS}, os.path.join(model, "tokenizer_config.json"))
    with open(os.path.join(model, "vocab.txt"), "w") as f:
        f.write("\n".join(VOCAB) + "\n")

    rows = []
    with open(os.path.join(dest, "inputs.jsonl"), "w") as f:
        for i, n in enumerate([0, 1, 2, 3, 5, 8, 13, 21, 30, 46, 60]):
            words = [WORDS[k] for k in rng.integers(0, len(WORDS), n)]
            ids = [VOCAB.index("[CLS]")] + [VOCAB.index(word) for word in words][:POSITIONS - 2] + [VOCAB.index("[SEP]")]
            f.write(json.dumps({"i": i, "text": " ".join(words), "ids": ids, "n": len(ids)}) + "\n")
            rows.append(vector(w, first, second, ids))
    np.save(os.path.join(dest, "embeddings.npy"), np.array(rows, dtype=np.float32))


if __name__ == "__main__":
    main()
