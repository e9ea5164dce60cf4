#!/usr/bin/env python3
"""Makes tiny models of test/data/tiny, one a family: random weights, vectors by sentence-transformers in fp32.

    make_tiny_families.py DEST [NAME...]

Needs sentence-transformers 6.2.0, transformers 5.23.0, torch 2.15.0 (CPU, eager attention). The files are those that
the hub has of such a model: modules, prompts, lengths, names of tensors. Vectors are those of the weights in
the file, whose type is smaller than the hub's where that saves room. Tokenizers and texts are those beside this script in test/data.
"""

import json
import math
import os
import shutil
import sys

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
WORDPIECE = os.path.join(DATA, "tokenizer", "cls.json")
GEMMA_SPM = os.path.join(DATA, "tokenizer", "gemma", "tokenizer.model")      # make_spm.py trained it
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


def randomize(module, seed, matrices=1.0, words=1.0, norms=1.0):
    """Weights of a size at which layers, biases and norms all matter; norms: what their weights are around."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            values *= words if "embed" in name.lower() else matrices / parameter.shape[-1] ** 0.5
        else:
            values *= 0.15
            if name.endswith("weight"):
                values += norms
        parameter.data = values


def save_weights(tensors, file, dtype):
    os.makedirs(os.path.dirname(file), exist_ok=True)
    save_file({name: value.detach().to(dtype).contiguous() for name, value in tensors.items()}, file, metadata={"format": "pt"})


def save_dense(folder, n_in, n_out, seed, dtype, activation="torch.nn.modules.linear.Identity"):
    generator = torch.Generator().manual_seed(seed)
    write_json(os.path.join(folder, "config.json"),
               {"in_features": n_in, "out_features": n_out, "bias": False, "activation_function": activation})
    save_weights({"linear.weight": torch.randn(n_out, n_in, generator=generator) / n_in ** 0.5},
                 os.path.join(folder, "model.safetensors"), dtype)


def save_tokenizer(model, file, length):
    shutil.copy(file, os.path.join(model, "tokenizer.json"))
    specials = {name: t for name, t in (("pad_token", "<pad>"), ("pad_token", "[PAD]"))
                if Tokenizer.from_file(file).token_to_id(t) is not None}
    write_json(os.path.join(model, "tokenizer_config.json"),
               dict({"model_max_length": length, "tokenizer_class": "PreTrainedTokenizerFast"}, **specials))


def save_modules(model, pooling, hidden, *rest):
    """rest: names of the modules after the pooling."""
    kinds = ["Transformer", "Pooling"] + list(rest)
    write_json(os.path.join(model, "modules.json"),
               [{"idx": i, "name": str(i), "path": "" if i == 0 else f"{i}_{kind}", "type": f"sentence_transformers.models.{kind}"}
                for i, kind in enumerate(kinds)])
    write_json(os.path.join(model, "1_Pooling", "config.json"),
               {"word_embedding_dimension": hidden, "pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean",
                "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False, "pooling_mode_weightedmean_tokens": False,
                "pooling_mode_lasttoken": pooling == "lasttoken", "include_prompt": True})


def save_prompts(model, prompts, length):
    write_json(os.path.join(model, "config_sentence_transformers.json"),
               {"model_type": "SentenceTransformer", "__version__": {"sentence_transformers": "6.2.0", "transformers": "5.23.0"},
                "prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"})
    write_json(os.path.join(model, "sentence_bert_config.json"), {"max_seq_length": length, "do_lower_case": False})


# ------------------------------------------------------------------ Gemma 3

EMBEDDING_GEMMA_PROMPTS = {
    "query": "task: search result | query: ", "document": "title: none | text: ", "BitextMining": "task: search result | query: ",
    "Clustering": "task: clustering | query: ", "Classification": "task: classification | query: ",
    "InstructionRetrieval": "task: code retrieval | query: ", "STS": "task: sentence similarity | query: ",
}
GEMMA = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1,
         "head_dim": 16, "vocab_size": 480, "sliding_window": 32, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1,
         "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]}


def save_gemma_tokenizer(model, length, ends, as_json):
    """Gemma's BPE as the hub has it, tokenizer.json and all, or as tokenizer.model alone. ends: whether <eos> comes after a text."""
    shutil.copy(GEMMA_SPM, model)
    if os.path.exists(os.path.join(model, "tokenizer.json")):       # an older one, which would be read
        os.remove(os.path.join(model, "tokenizer.json"))
    write_json(os.path.join(model, "tokenizer_config.json"),
               {"tokenizer_class": "GemmaTokenizer", "model_max_length": length, "add_bos_token": True, "add_eos_token": ends,
                "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"})
    if not as_json:
        return
    transformers.AutoTokenizer.from_pretrained(model).save_pretrained(model)
    os.remove(os.path.join(model, "tokenizer.model"))
    # what the published file has not
    with open(os.path.join(model, "tokenizer_config.json"), encoding="utf-8") as f:
        config = json.load(f)
    write_json(os.path.join(model, "tokenizer_config.json"), {k: v for k, v in config.items() if k not in ("vocab_file", "is_local", "local_files_only")})


def save_gemma(model, config, seed, dtype):
    transformer = transformers.Gemma3TextModel(config)
    randomize(transformer, seed, matrices=1.2, words=0.3, norms=0)
    config = config.to_dict()
    # as files of the time before "rope_parameters" have it
    ropes = config.pop("rope_parameters")
    config.update(architectures=["Gemma3TextModel"], rope_theta=ropes["full_attention"]["rope_theta"], rope_scaling=None,
                  rope_local_base_freq=ropes["sliding_attention"]["rope_theta"], dtype=str(dtype).split(".")[1],
                  _sliding_window_pattern=6)
    write_json(os.path.join(model, "config.json"), config)
    save_weights(transformer.state_dict(), os.path.join(model, "model.safetensors"), dtype)


def make_embedding_gemma(model):
    config = transformers.Gemma3TextConfig(**GEMMA, max_position_embeddings=2048, query_pre_attn_scalar=16, use_bidirectional_attention=True)
    save_gemma(model, config, 1, torch.bfloat16)
    save_gemma_tokenizer(model, 2048, True, True)
    save_modules(model, "mean", 32, "Dense", "Dense", "Normalize")
    save_dense(os.path.join(model, "2_Dense"), 32, 64, 2, torch.bfloat16)
    save_dense(os.path.join(model, "3_Dense"), 64, 32, 3, torch.bfloat16)
    save_prompts(model, EMBEDDING_GEMMA_PROMPTS, 2048)


def make_harrier(model):
    """Causal, the last token's row, a root of its own under the scores."""
    config = transformers.Gemma3TextConfig(**GEMMA, max_position_embeddings=32768, query_pre_attn_scalar=24, use_bidirectional_attention=False)
    save_gemma(model, config, 4, torch.bfloat16)
    save_gemma_tokenizer(model, 32768, False, False)
    save_modules(model, "lasttoken", 32, "Normalize")
    save_prompts(model, {"query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ", "document": ""}, 32768)


# ------------------------------------------------------- ELECTRA, ERNIE, EuroBERT

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}


def save_encoder(model, transformer, seed, tokenizer, length, pooling, normalizes, **changes):
    randomize(transformer, seed, matrices=0.8)
    write_json(os.path.join(model, "config.json"), dict(transformer.config.to_dict(), architectures=[type(transformer).__name__], **changes))
    save_weights(transformer.state_dict(), os.path.join(model, "model.safetensors"), torch.float16)
    save_tokenizer(model, tokenizer, length)
    save_modules(model, pooling, 32, *(["Normalize"] if normalizes else []))
    write_json(os.path.join(model, "sentence_bert_config.json"), {"max_seq_length": length, "do_lower_case": False})


def make_electra(model):
    """Embeddings narrower than the layers."""
    config = transformers.ElectraConfig(vocab_size=800, embedding_size=20, pad_token_id=0, **SIZES)
    save_encoder(model, transformers.ElectraModel(config), 5, WORDPIECE, 512, "mean", True)


def make_ernie(model):
    config = transformers.ErnieConfig(vocab_size=800, use_task_id=True, task_type_vocab_size=3, pad_token_id=0, **SIZES)
    save_encoder(model, transformers.ErnieModel(config, add_pooling_layer=False), 6, WORDPIECE, 512, "cls", True)


def make_eurobert(model):
    config = transformers.EuroBertConfig(vocab_size=1101, num_key_value_heads=1, max_position_embeddings=8192, pad_token_id=1,
                                         bos_token_id=0, eos_token_id=2, rope_parameters={"rope_type": "default", "rope_theta": 250000.0}, **SIZES)
    save_encoder(model, transformers.EuroBertModel(config), 7, BYTE_LEVEL, 8192, "mean", True)


# ------------------------------------------------------------------- JinaBert

# transformers has no class for it: the plain computation below is in double, a text at a time

def numpy_weights(tensors):
    return {name: value.detach().to(torch.float16).double().numpy() for name, value in tensors.items()}


def layer_norm(x, w, name, eps=1e-12):
    d = x - x.mean(-1, keepdims=True)
    return d / np.sqrt((d * d).mean(-1, keepdims=True) + eps) * w[name + ".weight"] + w[name + ".bias"]


def linear(x, w, name):
    return x @ w[name + ".weight"].T + w.get(name + ".bias", 0)


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def alibi_slopes(n):
    """As the paper's authors: powers of 2^(-8 / n), and every second of twice the number for what n has beyond a power of two."""
    if math.log2(n).is_integer():
        return [2 ** (-8 * (i + 1) / n) for i in range(n)]
    power = 2 ** math.floor(math.log2(n))
    return alibi_slopes(power) + alibi_slopes(2 * power)[0::2][:n - power]


def jinabert(w, c, ids, type_ids):
    n, heads, size = len(ids), c["num_attention_heads"], c["hidden_size"] // c["num_attention_heads"]
    distances = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :])
    x = layer_norm(w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][type_ids], w, "embeddings.LayerNorm")
    for i in range(c["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        q, k, v = (linear(x, w, at + "attention.self." + part).reshape(n, heads, size) for part in ("query", "key", "value"))
        context = np.stack([softmax(q[:, h] @ k[:, h].T / math.sqrt(size) - slope * distances) @ v[:, h]
                            for h, slope in enumerate(alibi_slopes(heads))], 1).reshape(n, -1)
        x = layer_norm(x + linear(context, w, at + "attention.output.dense"), w, at + "attention.output.LayerNorm")
        gates, values = np.split(linear(x, w, at + "mlp.gated_layers"), 2, -1)
        gates = gelu(gates) if c["feed_forward_type"] == "geglu" else np.maximum(gates, 0)
        x = layer_norm(x + linear(gates * values, w, at + "mlp.wo"), w, at + "mlp.layernorm")
    return x


def jina_files(model, seed, labels, **changes):
    code = "jinaai/jina-bert-implementation--"
    c = dict({"model_type": "bert", "architectures": ["JinaBertForMaskedLM"], "hidden_size": 48, "num_hidden_layers": 3,
              "num_attention_heads": 3, "intermediate_size": 64, "vocab_size": 800, "type_vocab_size": 2, "max_position_embeddings": 8192,
              "hidden_act": "gelu", "layer_norm_eps": 1e-12, "position_embedding_type": "alibi", "feed_forward_type": "geglu",
              "emb_pooler": "mean", "attn_implementation": None, "pad_token_id": 0,
              "auto_map": {"AutoConfig": code + "configuration_bert.JinaBertConfig", "AutoModel": code + "modeling_bert.JinaBertModel"}}, **changes)
    generator = torch.Generator().manual_seed(seed)
    h, n = c["hidden_size"], c["intermediate_size"]
    w = {}

    def add(name, rows, cols, has_bias=True, scale=1.0):
        w[name + ".weight"] = torch.randn(rows, cols, generator=generator) * scale / cols ** 0.5
        if has_bias:
            w[name + ".bias"] = torch.randn(rows, generator=generator) * 0.15

    def add_norm(name):
        w[name + ".weight"] = 1 + torch.randn(h, generator=generator) * 0.15
        w[name + ".bias"] = torch.randn(h, generator=generator) * 0.15

    add("embeddings.word_embeddings", c["vocab_size"], h, False, 4)
    add("embeddings.token_type_embeddings", 2, h, False, 4)
    add_norm("embeddings.LayerNorm")
    for i in range(c["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        for part in ("query", "key", "value"):
            add(at + "attention.self." + part, h, h)
        add(at + "attention.output.dense", h, h)
        add_norm(at + "attention.output.LayerNorm")
        add(at + "mlp.gated_layers", 2 * n, h, False)
        add(at + "mlp.wo", h, n)
        add_norm(at + "mlp.layernorm")
    add("pooler.dense", h, h)
    if labels:
        add("classifier", 1, h)
    write_json(os.path.join(model, "config.json"), c)
    prefixed = {("bert." if labels and not name.startswith("classifier") else "") + name: value for name, value in w.items()}
    save_weights(prefixed, os.path.join(model, "model.safetensors"), torch.float16)
    save_tokenizer(model, WORDPIECE, 8192)
    return numpy_weights(w), c


def make_jina(model):
    w, c = jina_files(model, 8, False)
    save_modules(model, "mean", 48, "Normalize")
    write_json(os.path.join(model, "sentence_bert_config.json"), {"max_seq_length": 8192, "do_lower_case": False})
    return lambda ids, types: jinabert(w, c, ids, types).mean(0)


def make_jina_rerank(model):
    w, c = jina_files(model, 9, True, architectures=["JinaBertForSequenceClassification"], num_attention_heads=2, hidden_size=32,
                      intermediate_size=48, feed_forward_type="reglu", id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0})
    return lambda ids, types: linear(np.tanh(linear(jinabert(w, c, ids, types)[0], w, "pooler.dense")), w, "classifier")[0]


MAKERS = {"jina": make_jina, "jina-rerank": make_jina_rerank, "electra": make_electra, "ernie": make_ernie, "eurobert": make_eurobert, "embedding-gemma": make_embedding_gemma, "harrier": make_harrier}


# -------------------------------------------------------------------- vectors

def write_vectors(where, model):
    st = SentenceTransformer(model, device="cpu", model_kwargs={"dtype": torch.float32, "attn_implementation": "eager"})
    lines = []
    for i, text in enumerate(TEXTS):
        ids = st.tokenizer(text)["input_ids"]
        lines.append({"text": text, "ids": ids, "n": len(ids), "i": i})
    # a text without tokens has no vector
    lines = [x for x in lines if x["n"] > 0]
    vectors = np.stack([st.encode(x["text"], normalize_embeddings=True) for x in lines])
    exact = SentenceTransformer(model, device="cpu", model_kwargs={"dtype": torch.float64, "attn_implementation": "eager"}).double()
    noise = max(np.abs(exact.encode(x["text"], normalize_embeddings=True) - v).max() for x, v in zip(lines, vectors))
    np.save(os.path.join(where, "embeddings.npy"), vectors.astype("<f4"))
    if st.prompts.get("query"):
        queries = st.encode_query(QUERIES, batch_size=1)
        np.save(os.path.join(where, "queries.npy"), queries.astype("<f4"))
        with open(os.path.join(where, "queries.json"), "w", encoding="utf-8") as f:
            f.write(json.dumps(QUERIES) + "\n")
    write_lines(where, [dict(x, i=i) for i, x in enumerate(lines)])
    cosines = vectors @ vectors.T - np.eye(len(vectors))
    print("%s: %d to %d tokens, noise %.1e, cosines %.3f to %.3f" % (os.path.basename(where), lines[0]["n"], lines[-1]["n"], noise,
                                                                   cosines[cosines != 0].min(), cosines.max()))


def write_plain_vectors(where, compute):
    """Vectors of a plain computation, for a family without a class."""
    tokenizer = Tokenizer.from_file(os.path.join(where, "model", "tokenizer.json"))
    lines, rows = [], []
    for i, text in enumerate(TEXTS):
        encoding = tokenizer.encode(text)
        lines.append({"text": text, "ids": encoding.ids, "n": len(encoding.ids), "i": i})
        rows.append(compute(encoding.ids, encoding.type_ids))
    vectors = np.stack([row / np.linalg.norm(row) for row in rows])
    np.save(os.path.join(where, "embeddings.npy"), vectors.astype("<f4"))
    write_lines(where, lines)
    cosines = vectors @ vectors.T - np.eye(len(vectors))
    print("%s: %d to %d tokens, cosines %.3f to %.3f" % (os.path.basename(where), lines[0]["n"], lines[-1]["n"], cosines.min(), cosines.max()))


def write_plain_scores(where, compute):
    tokenizer = Tokenizer.from_file(os.path.join(where, "model", "tokenizer.json"))
    lines = []
    for i, (query, doc) in enumerate([(q, t) for q in QUERIES for t in TEXTS[::2]] + [("", "")]):
        encoding = tokenizer.encode(query, doc)
        logit = compute(encoding.ids, encoding.type_ids)
        lines.append({"query": query, "doc": doc, "ids": encoding.ids, "type_ids": encoding.type_ids, "n": len(encoding.ids),
                      "logit": logit, "score": 1 / (1 + math.exp(-logit)), "i": i})
    write_lines(where, lines)
    print("%s: logits %.3f to %.3f" % (os.path.basename(where), min(x["logit"] for x in lines), max(x["logit"] for x in lines)))


def write_lines(where, lines):
    with open(os.path.join(where, "inputs.jsonl"), "w", encoding="utf-8") as f:
        for x in lines:
            f.write(json.dumps(x, separators=(",", ":")) + "\n")


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for name in sys.argv[2:] or MAKERS:
        where = os.path.join(sys.argv[1], name)
        model = os.path.join(where, "model")
        os.makedirs(model, exist_ok=True)
        compute = MAKERS[name](model)
        if compute is None:
            write_vectors(where, model)
        elif name.endswith("-rerank"):
            write_plain_scores(where, compute)
        else:
            write_plain_vectors(where, compute)


if __name__ == "__main__":
    main()
