#!/usr/bin/env python3
"""Makes the tiny decoders of test/data/tiny: random weights, vectors and logits in float64.

    make_tiny_decoders.py DEST [NAME...]
    make_tiny_decoders.py --check GOLDENS     this arithmetic beside transformers' (qwen3-rerank, qwen3-embed-k)

Needs numpy and tokenizers 0.23.3. The forward pass below is written from the papers' equations, one row a token,
without a batch; weights are rounded to float16, which is what the files hold. Ids are those of the library, put
together as the models' cards say.
"""

import json
import os
import shutil
import sys

import numpy as np
from tokenizers import Tokenizer

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
RERANK_TOKENIZER = os.path.join(DATA, "tiny", "qwen3-rerank", "model", "tokenizer.json")


# ------------------------------------------------------------------ arithmetic

def rms(x, gamma, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gamma


def rotate(x, base):
    """x [n, heads, size]: the halves of a head are a pair of coordinates, turned by the position."""
    n, _, size = x.shape
    angles = np.arange(n)[:, None] / base ** (np.arange(0, size, 2) / size)
    cos, sin = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]
    a, b = x[..., :size // 2], x[..., size // 2:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attention(x, layer, c):
    n, heads, kv, size = len(x), c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]

    def project(name, n_heads):
        y = x @ layer[f"self_attn.{name}_proj.weight"].T + layer.get(f"self_attn.{name}_proj.bias", 0)
        y = y.reshape(n, n_heads, size)
        norm = layer.get(f"self_attn.{name}_norm.weight")
        return y if norm is None else rms(y, norm, c["rms_norm_eps"])

    q = rotate(project("q", heads), c["rope_theta"])
    k = rotate(project("k", kv), c["rope_theta"])
    v = project("v", kv)
    out = np.empty((n, heads, size))
    for h in range(heads):
        scores = q[:, h] @ k[:, h // (heads // kv)].T / np.sqrt(size)
        if not c.get("use_bidirectional_attention"):
            scores[np.triu_indices(n, 1)] = -np.inf
        scores = np.exp(scores - scores.max(1, keepdims=True))
        out[:, h] = scores / scores.sum(1, keepdims=True) @ v[:, h // (heads // kv)]
    return out.reshape(n, heads * size) @ layer["self_attn.o_proj.weight"].T


def forward(ids, weights, prefix, c):
    """The rows after the last norm."""
    x = weights[prefix + "embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        at = f"{prefix}layers.{i}."
        layer = {k[len(at):]: w for k, w in weights.items() if k.startswith(at)}
        x = x + attention(rms(x, layer["input_layernorm.weight"], c["rms_norm_eps"]), layer, c)
        y = rms(x, layer["post_attention_layernorm.weight"], c["rms_norm_eps"])
        gate, up = y @ layer["mlp.gate_proj.weight"].T, y @ layer["mlp.up_proj.weight"].T
        x = x + gate / (1 + np.exp(-gate)) * up @ layer["mlp.down_proj.weight"].T
    return rms(x, weights[prefix + "norm.weight"], c["rms_norm_eps"])


# --------------------------------------------------------------------- files

def load(directory):
    with open(os.path.join(directory, "config.json")) as f:
        config = json.load(f)
    config.setdefault("rope_theta", config.get("rope_parameters", {}).get("rope_theta"))
    with open(os.path.join(directory, "model.safetensors"), "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.read()
    weights = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        raw = data[t["data_offsets"][0]:t["data_offsets"][1]]
        if t["dtype"] == "BF16":
            w = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            w = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[t["dtype"]])
        weights[name] = w.reshape(t["shape"]).astype(np.float64)
    return config, weights


def save(directory, config, weights):
    header, at = {}, 0
    for name, w in weights.items():
        header[name] = {"dtype": "F16", "shape": list(w.shape), "data_offsets": [at, at + 2 * w.size]}
        at += 2 * w.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(directory, "model.safetensors"), "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + b"".join(w.astype("<f2").tobytes() for w in weights.values()))
    write_json(os.path.join(directory, "config.json"), config)


def write_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump(value, f, indent=2)
        f.write("\n")


def write_lines(path, lines):
    with open(path, "w") as f:
        for line in lines:
            f.write(json.dumps(line) + "\n")


def random_weights(rng, c, prefix, qk_norm, biases):
    h, size, n_ff = c["hidden_size"], c["head_dim"], c["intermediate_size"]
    n_q, n_kv = c["num_attention_heads"] * size, c["num_key_value_heads"] * size
    weights = {}

    def matrix(name, rows, cols):
        weights[name] = rng.normal(0, 1.4 / np.sqrt(cols), (rows, cols)).astype(np.float16).astype(np.float64)

    def gamma(name, n):
        weights[name] = (1 + rng.normal(0, 0.2, n)).astype(np.float16).astype(np.float64)

    matrix(prefix + "embed_tokens.weight", c["vocab_size"], h)
    for i in range(c["num_hidden_layers"]):
        at = f"{prefix}layers.{i}."
        gamma(at + "input_layernorm.weight", h)
        for name, rows in (("q", n_q), ("k", n_kv), ("v", n_kv)):
            matrix(f"{at}self_attn.{name}_proj.weight", rows, h)
            if biases:
                weights[f"{at}self_attn.{name}_proj.bias"] = rng.normal(0, 0.3, rows).astype(np.float16).astype(np.float64)
        if qk_norm:
            gamma(at + "self_attn.q_norm.weight", size)
            gamma(at + "self_attn.k_norm.weight", size)
        matrix(at + "self_attn.o_proj.weight", h, n_q)
        gamma(at + "post_attention_layernorm.weight", h)
        matrix(at + "mlp.gate_proj.weight", n_ff, h)
        matrix(at + "mlp.up_proj.weight", n_ff, h)
        matrix(at + "mlp.down_proj.weight", h, n_ff)
    gamma(prefix + "norm.weight", h)
    return weights


# -------------------------------------------------------------------- models

CONFIG = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "hidden_act": "silu", "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    "rope_scaling": None, "tie_word_embeddings": True, "use_sliding_window": False, "vocab_size": 999,
}
TEXTS = ["", "a", "the quick brown fox", "PostgreSQL database server", "na\u00efve caf\u00e9 \u2014 d\u00e9j\u00e0 vu",
         "\u5317\u4eac\u662f\u4e2d\u56fd\u7684\u9996\u90fd\u3002", "\U0001f600 emoji", "  spaces\n\nand lines ", "x" * 300,
         "This package contains the source for the Rust crate, packaged by debcargo. " * 9]
PAIRS = [("what is postgresql?", "A database."), ("what is postgresql?", ""), ("", "A database."), ("", ""),
         ("\u5317\u4eac", "\u5317\u4eac\u662f\u4e2d\u56fd\u7684\u9996\u90fd\u3002"), ("q?\n", "\n\nd"), ("a: b", ": c"),
         ("fast compression", "Zstandard is a fast compression algorithm. " * 12), ("x" * 200, "y" * 200)]
INSTRUCTION = "Find the package that fits the question"


def modules(*names):
    return [{"idx": i, "name": str(i), "path": "" if i == 0 else f"{i}_{name}", "type": f"sentence_transformers.models.{name}"}
            for i, name in enumerate(names)]


def tokenizer_with_end(path):
    """The tokenizer with <|endoftext|> after every text, as Qwen3-Embedding has it."""
    with open(RERANK_TOKENIZER) as f:
        t = json.load(f)
    end = "<|endoftext|>"
    t["post_processor"] = {
        "type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": end, "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": end, "type_id": 0}},
                 {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": end, "type_id": 0}}],
        "special_tokens": {end: {"id": end, "ids": [Tokenizer.from_file(RERANK_TOKENIZER).token_to_id(end)], "tokens": [end]}}}
    with open(path, "w") as f:
        json.dump(t, f, ensure_ascii=True)


def write_embeddings(where, rows, lines):
    rows = np.array([r / np.linalg.norm(r) for r in rows])
    np.save(os.path.join(where, "embeddings.npy"), rows.astype("<f4"))
    write_lines(os.path.join(where, "inputs.jsonl"), lines)


def make_qwen3_embed(where, model):
    rng = np.random.default_rng(3)
    c = dict(CONFIG, model_type="qwen3", architectures=["Qwen3ForCausalLM"], attention_bias=False)
    weights = random_weights(rng, c, "", True, False)
    save(model, c, weights)
    tokenizer_with_end(os.path.join(model, "tokenizer.json"))
    write_json(os.path.join(model, "modules.json"), modules("Transformer", "Pooling", "Normalize"))
    write_json(os.path.join(model, "1_Pooling", "config.json"),
               {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True, "include_prompt": True})
    write_json(os.path.join(model, "config_sentence_transformers.json"),
               {"prompts": {"query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:", "document": ""},
                "default_prompt_name": None, "similarity_fn_name": "cosine"})
    t = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    lines = [{"text": text, "ids": t.encode(text).ids, "i": i} for i, text in enumerate(TEXTS)]
    write_embeddings(where, [forward(line["ids"], weights, "", c)[-1] for line in lines], [dict(x, n=len(x["ids"])) for x in lines])


def make_qwen3_both_ways(where, model):
    rng = np.random.default_rng(4)
    c = dict(CONFIG, model_type="qwen3", architectures=["Qwen3BidirectionalModel"], attention_bias=False, use_bidirectional_attention=True,
             num_labels=40)
    weights = random_weights(rng, c, "model.", True, False)
    weights["linear.weight"] = rng.normal(0, 0.2, (40, 32)).astype(np.float16).astype(np.float64)
    save(model, c, weights)
    shutil.copy(RERANK_TOKENIZER, os.path.join(model, "tokenizer.json"))
    write_json(os.path.join(model, "modules.json"), modules("Transformer", "Pooling", "Normalize"))
    write_json(os.path.join(model, "1_Pooling", "config.json"), {"word_embedding_dimension": 40, "pooling_mode_mean_tokens": True})
    t = Tokenizer.from_file(RERANK_TOKENIZER)
    lines = [{"text": text, "ids": t.encode(text).ids, "i": i} for i, text in enumerate(TEXTS) if text != ""]
    write_embeddings(where, [(forward(line["ids"], weights, "model.", c) @ weights["linear.weight"].T).mean(0) for line in lines],
                     [dict(x, n=len(x["ids"])) for x in lines])


# As mxbai-rerank's code has them: parts that are tokenized apart.
CHAT = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
TASK = ("You are a search relevance expert who evaluates how well documents match search queries. For each query-document pair, carefully "
        "analyze the semantic relationship between them, then provide your binary relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:")
ANSWER = "<|im_end|>\n<|im_start|>assistant\n"


def make_qwen2_rerank(where, model):
    rng = np.random.default_rng(5)
    c = dict(CONFIG, model_type="qwen2", architectures=["Qwen2ForCausalLM"], num_attention_heads=2, num_key_value_heads=1)
    weights = random_weights(rng, c, "model.", False, True)
    save(model, {k: v for k, v in c.items() if k != "head_dim"}, weights)
    shutil.copy(RERANK_TOKENIZER, os.path.join(model, "tokenizer.json"))
    t = Tokenizer.from_file(RERANK_TOKENIZER)

    def ids_of(text):
        return t.encode(text, add_special_tokens=False).ids

    yes, no = ids_of("1"), ids_of("0")
    assert len(yes) == len(no) == 1
    lines = []
    for i, (query, doc) in enumerate(PAIRS):
        instruct = INSTRUCTION if i % 2 else ""
        head = (f"instruction: {instruct}\n" if instruct else "") + f"query: {query}"
        ids = (ids_of(CHAT) + ids_of(head) + ids_of("\n") + ids_of(f"document: {doc}") + ids_of("\n") + ids_of(TASK) + ids_of(ANSWER))
        logits = weights["model.embed_tokens.weight"][[yes[0], no[0]]] @ forward(ids, weights, "model.", c)[-1]
        logit = logits[0] - logits[1]
        lines.append({"instruct": instruct, "query": query, "doc": doc, "ids": ids, "n": len(ids), "logit": logit,
                      "score": 1 / (1 + np.exp(-logit)), "yes_id": yes[0], "no_id": no[0], "i": i})
    write_lines(os.path.join(where, "inputs.jsonl"), lines)


MAKERS = {"qwen3-embed": make_qwen3_embed, "qwen3-both-ways": make_qwen3_both_ways, "qwen2-rerank": make_qwen2_rerank}


def check(goldens):
    for name, key in (("qwen3-rerank", "model."), ("qwen3-embed-k", "")):
        directory = os.path.join(goldens, name)
        config, weights = load(os.path.join(directory, "model"))
        worst = 0
        want = np.load(os.path.join(directory, "logits.npy" if key else "embeddings.npy"))
        for k, line in enumerate(open(os.path.join(directory, "inputs.jsonl"))):
            line = json.loads(line)
            row = forward(line["ids"], weights, key, config)[-1]
            if key:
                got = weights["model.embed_tokens.weight"][[line["no_id"], line["yes_id"]]] @ row
            else:
                got = row / np.linalg.norm(row)
            worst = max(worst, np.abs(got - want[k]).max())
        print(name, "differs by", worst)


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        check(sys.argv[2])
        return
    for name in sys.argv[2:] or MAKERS:
        where = os.path.join(sys.argv[1], name)
        model = os.path.join(where, "model")
        os.makedirs(model, exist_ok=True)
        MAKERS[name](where, model)


if __name__ == "__main__":
    main()
