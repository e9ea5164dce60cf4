#!/usr/bin/env python3
"""Makes tiny models of test/data/tiny of families that transformers has no class for: random weights, vectors by a plain
computation in double, a text at a time.

    make_tiny_plain.py DEST [NAME...]

Needs numpy, safetensors and tokenizers only. The files are those that the hub has of such a model: configuration, modules,
prompts, names of tensors; weights in float16. Vectors are those of the weights in the file. Tokenizers and texts are
those beside this script in test/data.
"""

import json
import math
import os
import shutil
import sys

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
UNIGRAM = os.path.join(DATA, "tokenizer", "unigram.json")
BYTE_LEVEL = os.path.join(DATA, "tokenizer", "bpe.json")

LONG = "This package contains the source for the Rust crate, packaged by debcargo for use with cargo and dh-cargo. "
TEXTS = ["", "a", "the quick brown fox", "PostgreSQL database server", "na\u00efve caf\u00e9 \u2014 d\u00e9j\u00e0 vu",
         "\u5317\u4eac\u662f\u4e2d\u56fd\u7684\u9996\u90fd\u3002", "numbers 1234567 and 3.14", "spaces   between   words",
         "a table, a row, a column and an index of the database", LONG, LONG * 2 + "The end.", LONG * 5]
QUERIES = ["what is a database?", "rust crates", "\u5317\u4eac"]


def write_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2)
        f.write("\n")


class Weights(dict):
    """Random tensors in float16; the computation reads them in double."""

    def __init__(self, seed):
        super().__init__()
        self.random = np.random.default_rng(seed)

    def add(self, name, *shape, scale=1.0):
        self[name] = (self.random.standard_normal(shape) * scale / shape[-1] ** 0.5).astype(np.float16)

    def add_linear(self, name, rows, cols, has_bias=True, scale=1.0):
        self.add(name + ".weight", rows, cols, scale=scale)
        if has_bias:
            self[name + ".bias"] = (self.random.standard_normal(rows) * 0.15).astype(np.float16)

    def add_norm(self, name, n, around=1.0):
        self[name + ".weight"] = (around + self.random.standard_normal(n) * 0.15).astype(np.float16)
        self[name + ".bias"] = (self.random.standard_normal(n) * 0.15).astype(np.float16)

    def get(self, name):
        return self[name].astype(np.float64) if name in self else 0.0

    def save(self, model):
        save_file(dict(self), os.path.join(model, "model.safetensors"), metadata={"format": "pt"})


def linear(w, name, x):
    return x @ w.get(name + ".weight").T + w.get(name + ".bias")


def layer_norm(w, name, x, eps):
    d = x - x.mean(-1, keepdims=True)
    return d / np.sqrt((d * d).mean(-1, keepdims=True) + eps) * w.get(name + ".weight") + w.get(name + ".bias")


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def save_modules(model, hidden, *rest):
    """Mean pooling; rest: names of the modules after it."""
    kinds = ["Transformer", "Pooling"] + list(rest)
    write_json(os.path.join(model, "modules.json"),
               [{"idx": i, "name": str(i), "path": "" if i == 0 else f"{i}_{kind}", "type": f"sentence_transformers.models.{kind}"}
                for i, kind in enumerate(kinds)])
    write_json(os.path.join(model, "1_Pooling", "config.json"),
               {"word_embedding_dimension": hidden, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
                "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False, "pooling_mode_weightedmean_tokens": False,
                "pooling_mode_lasttoken": False, "include_prompt": True})


# ------------------------------------------------------------- nomic-embed-text-v2-moe

def rotate(x, base):
    """Halves of each head are the coordinates of points in a plane."""
    n, half = x.shape[0], x.shape[-1] // 2
    angles = np.arange(n)[:, None] / base ** (2 * np.arange(half) / x.shape[-1])
    cos, sin = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def experts(w, c, at, x):
    """Each row passes the moe_top_k experts that the router gives most; shares are those of the softmax over all."""
    n = c["n_inner"]
    shares = softmax(linear(w, at + "router.layer", x))
    out = np.zeros_like(x)
    for i, row in enumerate(x):
        for e in np.argsort(-shares[i], kind="stable")[:c["moe_top_k"]]:
            w1, w2 = (w.get(at + f"experts.mlp.{name}")[e * n:(e + 1) * n] for name in ("w1", "w2"))
            out[i] += shares[i, e] * (gelu(row @ w1.T) @ w2)
    return out + w.get(at + "experts.bias")


def nomic(w, c, ids, type_ids):
    n, heads, size, eps = len(ids), c["n_head"], c["n_embd"] // c["n_head"], c["layer_norm_epsilon"]
    x = layer_norm(w, "emb_ln", w.get("embeddings.word_embeddings.weight")[ids] + w.get("embeddings.token_type_embeddings.weight")[type_ids], eps)
    for i in range(c["n_layer"]):
        at = f"encoder.layers.{i}."
        q, k, v = (part.reshape(n, heads, size) for part in np.split(linear(w, at + "attn.Wqkv", x), 3, -1))
        q, k = rotate(q, c["rotary_emb_base"]), rotate(k, c["rotary_emb_base"])
        context = np.stack([softmax(q[:, h] @ k[:, h].T / math.sqrt(size)) @ v[:, h] for h in range(heads)], 1).reshape(n, -1)
        x = layer_norm(w, at + "norm1", x + linear(w, at + "attn.out_proj", context), eps)
        y = experts(w, c, at + "mlp.", x) if i % c["moe_every_n_layers"] == 1 else linear(w, at + "mlp.fc2", gelu(linear(w, at + "mlp.fc1", x)))
        x = layer_norm(w, at + "norm2", x + y, eps)
    return x


def make_nomic_experts(model):
    code = "nomic-ai/nomic-bert-2048--"
    c = {"model_type": "nomic_bert", "architectures": ["NomicBertModel"], "activation_function": "gelu", "add_pooling_layer": False, "causal": False,
         "expert_choice_router": False, "ffn_div": 1, "layer_norm_epsilon": 1e-05, "max_trained_positions": 2048, "mlp_fc1_bias": True, "mlp_fc2_bias": True,
         "moe_every_n_layers": 2, "moe_impl": "megablocks", "moe_normalize_expert_weights": False, "moe_resid_pdrop": 0.0, "moe_top_k": 2,
         "n_embd": 32, "n_head": 2, "n_inner": 40, "n_layer": 3, "n_positions": 2048, "num_experts": 8, "num_shared_experts": 0, "pad_token_id": 1,
         "pad_vocab_to_multiple_of": 64, "parallel_block": False, "prenorm": False, "qkv_proj_bias": True, "rotary_emb_base": 10000,
         "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_emb_scale_base": None, "rotary_scaling_factor": None,
         "router_aux_loss_coef": 0.1, "type_vocab_size": 1, "use_rms_norm": None, "vocab_size": 320,
         "auto_map": {"AutoConfig": code + "configuration_hf_nomic_bert.NomicBertConfig", "AutoModel": code + "modeling_hf_nomic_bert.NomicBertModel"}}
    w = Weights(1)
    h, n = c["n_embd"], c["n_inner"]
    w.add("embeddings.word_embeddings.weight", c["vocab_size"], h, scale=4)
    w.add("embeddings.token_type_embeddings.weight", 1, h)
    w.add_norm("emb_ln", h)
    for i in range(c["n_layer"]):
        at = f"encoder.layers.{i}."
        w.add_linear(at + "attn.Wqkv", 3 * h, h)
        w.add_linear(at + "attn.out_proj", h, h)
        w.add_norm(at + "norm1", h)
        w.add_norm(at + "norm2", h)
        if i % c["moe_every_n_layers"] == 1:
            w.add_linear(at + "mlp.router.layer", c["num_experts"], h, False, scale=1.5)
            w.add(at + "mlp.experts.mlp.w1", c["num_experts"] * n, h, scale=1.5)
            w.add(at + "mlp.experts.mlp.w2", c["num_experts"] * n, h, scale=1.5)
            w[at + "mlp.experts.bias"] = (w.random.standard_normal(h) * 0.15).astype(np.float16)
        else:
            w.add_linear(at + "mlp.fc1", n, h)
            w.add_linear(at + "mlp.fc2", h, n)
    write_json(os.path.join(model, "config.json"), c)
    w.save(model)
    shutil.copy(UNIGRAM, os.path.join(model, "tokenizer.json"))
    write_json(os.path.join(model, "tokenizer_config.json"), {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512, "bos_token": "<s>",
                                                              "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"})
    save_modules(model, h, "Normalize")
    write_json(os.path.join(model, "sentence_bert_config.json"), {"max_seq_length": 512, "do_lower_case": False})
    write_json(os.path.join(model, "config_sentence_transformers.json"),
               {"__version__": {"sentence_transformers": "3.3.0", "transformers": "4.44.2", "pytorch": "2.4.1"}, "similarity_fn_name": "cosine", "default_prompt_name": None,
                "prompts": {"query": "search_query: ", "passage": "search_document: ", "Classification": "classification: ", "Clustering": "clustering: "}})
    return lambda ids, types: nomic(w, c, ids, types), "search_query: "


# ------------------------------------------------------- jina-embeddings-v2-base-code

def alibi_slopes(n):
    """As the paper's authors: powers of 2^(-8 / n), and every second of twice the number for what n has beyond a power of two."""
    if math.log2(n).is_integer():
        return [2 ** (-8 * (i + 1) / n) for i in range(n)]
    power = 2 ** math.floor(math.log2(n))
    return alibi_slopes(power) + alibi_slopes(2 * power)[0::2][:n - power]


def jina_code(w, c, ids, type_ids):
    """Layer norms of queries and keys over all heads, two norms after attention, the gates in the second half."""
    n, heads, size, eps = len(ids), c["num_attention_heads"], c["hidden_size"] // c["num_attention_heads"], c["layer_norm_eps"]
    distances = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :])
    x = layer_norm(w, "embeddings.LayerNorm", w.get("embeddings.word_embeddings.weight")[ids] + w.get("embeddings.token_type_embeddings.weight")[type_ids], eps)
    for i in range(c["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        q, k, v = (linear(w, at + "attention.self." + part, x) for part in ("query", "key", "value"))
        q = layer_norm(w, at + "attention.self.layer_norm_q", q, eps)
        k = layer_norm(w, at + "attention.self.layer_norm_k", k, eps)
        q, k, v = (part.reshape(n, heads, size) for part in (q, k, v))
        context = np.stack([softmax(q[:, h] @ k[:, h].T / math.sqrt(size) - slope * distances) @ v[:, h]
                            for h, slope in enumerate(alibi_slopes(heads))], 1).reshape(n, -1)
        y = layer_norm(w, at + "attention.output.LayerNorm", x + linear(w, at + "attention.output.dense", context), eps)
        x = layer_norm(w, at + "layer_norm_1", x + y, eps)
        values, gates = np.split(linear(w, at + "mlp.up_gated_layer", x), 2, -1)
        x = layer_norm(w, at + "layer_norm_2", x + linear(w, at + "mlp.down_layer", values * gelu(gates)), eps)
    return x


def make_jina_code(model):
    code = "jinaai/jina-bert-v2-qk-post-norm"
    c = {"_name_or_path": code, "model_type": "bert", "architectures": ["JinaBertModel"], "attention_probs_dropout_prob": 0.0, "hidden_size": 36,
         "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40, "vocab_size": 1101, "type_vocab_size": 2,
         "max_position_embeddings": 8192, "model_max_length": 8192, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "layer_norm_eps": 1e-12,
         "position_embedding_type": "alibi", "feed_forward_type": "geglu", "emb_pooler": "mean", "pad_token_id": 1,
         "auto_map": {"AutoConfig": code + "--configuration_bert.JinaBertConfig", "AutoModel": code + "--modeling_bert.JinaBertModel"}}
    w = Weights(2)
    h, n = c["hidden_size"], c["intermediate_size"]
    w.add("embeddings.word_embeddings.weight", c["vocab_size"], h, scale=4)
    w.add("embeddings.token_type_embeddings.weight", 2, h, scale=4)
    w.add_norm("embeddings.LayerNorm", h)
    for i in range(c["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        for part in ("query", "key", "value"):
            w.add_linear(at + "attention.self." + part, h, h)
        for norm in ("attention.self.layer_norm_q", "attention.self.layer_norm_k", "attention.output.LayerNorm", "layer_norm_1", "layer_norm_2"):
            w.add_norm(at + norm, h)
        w.add_linear(at + "attention.output.dense", h, h)
        w.add_linear(at + "mlp.up_gated_layer", 2 * n, h, False)
        w.add_linear(at + "mlp.down_layer", h, n)
    write_json(os.path.join(model, "config.json"), c)
    w.save(model)
    shutil.copy(BYTE_LEVEL, os.path.join(model, "tokenizer.json"))
    write_json(os.path.join(model, "tokenizer_config.json"), {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192, "pad_token": "<pad>"})
    save_modules(model, h)
    write_json(os.path.join(model, "sentence_bert_config.json"), {"max_seq_length": 8192, "do_lower_case": False})
    return lambda ids, types: jina_code(w, c, ids, types), ""


MAKERS = {"nomic-experts": make_nomic_experts, "jina-code": make_jina_code}


# -------------------------------------------------------------------- vectors

def embed(tokenizer, compute, text):
    encoding = tokenizer.encode(text)
    row = compute(encoding.ids, encoding.type_ids).mean(0)
    return encoding.ids, row / np.linalg.norm(row)


def write_vectors(where, compute, prompt):
    tokenizer = Tokenizer.from_file(os.path.join(where, "model", "tokenizer.json"))
    name = os.path.basename(where)
    lines, vectors = [], []
    for i, text in enumerate(TEXTS):
        # XLMRobertaTokenizer of transformers 5 drops white space at the end
        ids, vector = embed(tokenizer, compute, text.rstrip(" ") if name == "nomic-experts" else text)
        lines.append({"text": text, "ids": ids, "n": len(ids), "i": i})
        vectors.append(vector)
    vectors = np.stack(vectors)
    np.save(os.path.join(where, "embeddings.npy"), vectors.astype("<f4"))
    if prompt:
        np.save(os.path.join(where, "queries.npy"), np.stack([embed(tokenizer, compute, prompt + q)[1] for q in QUERIES]).astype("<f4"))
        with open(os.path.join(where, "queries.json"), "w", encoding="utf-8") as f:
            f.write(json.dumps(QUERIES) + "\n")
    with open(os.path.join(where, "inputs.jsonl"), "w", encoding="utf-8") as f:
        for x in lines:
            f.write(json.dumps(x, separators=(",", ":")) + "\n")
    cosines = vectors @ vectors.T - np.eye(len(vectors))
    print("%s: %d to %d tokens, cosines %.3f to %.3f" % (name, lines[0]["n"], lines[-1]["n"], cosines.min(), cosines.max()))


def main():
    for name in sys.argv[2:] or MAKERS:
        where = os.path.join(sys.argv[1], name)
        model = os.path.join(where, "model")
        os.makedirs(model, exist_ok=True)
        write_vectors(where, *MAKERS[name](model))


if __name__ == "__main__":
    main()
