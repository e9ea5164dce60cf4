#!/usr/bin/env python3
"""Write a model directory of the hub as a GGUF file, as llama.cpp's conversion does.

    make_gguf.py [--type F32|F16|BF16|Q8_0] [--shards N] [--no-dense] MODEL_DIR FILE.gguf

Names of keys and tensors, the rewriting of WordPiece's vocabulary, what is dropped (the pooler of
BertForSequenceClassification) and what stays fp32 (vectors, positions, token types) follow
conversion/bert.py and base.py of llama.cpp, read in 2026. For the tiny models of test/data: BERT,
RoBERTa, XLM-RoBERTa, DistilBERT, NomicBert, ModernBERT, EmbeddingGemma (with its Dense modules). Needs Python only.
"""
import argparse
import base64
import json
import os
import re
import struct

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
U8 = 0
ALIGNMENT = 32
TYPES = {"F32": 0, "F16": 1, "Q8_0": 8, "BF16": 30}
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7, "BF16": 32}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


# ------------------------------------------------------------------ reading

def read_json(directory, name):
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def read_safetensors(path):
    """{name: (shape, values)}"""
    with open(path, "rb") as f:
        data = f.read()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = data[start + begin:start + end]
        if entry["dtype"] == "F32":
            values = struct.unpack("<%df" % (len(raw) // 4), raw)
        elif entry["dtype"] == "F16":
            values = struct.unpack("<%de" % (len(raw) // 2), raw)
        elif entry["dtype"] == "BF16":
            values = struct.unpack("<%df" % (len(raw) // 2), b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2)))
        elif entry["dtype"] == "I64":
            continue                    # position_ids
        else:
            raise SystemExit("%s: %s" % (name, entry["dtype"]))
        tensors[name] = (entry["shape"], values)
    return tensors


# ------------------------------------------------------------------ writing

def string(s):
    raw = s if isinstance(s, bytes) else s.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def key(name, kind, value):
    formats = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}
    return string(name) + struct.pack("<I", kind) + (string(value) if kind == STRING else struct.pack(formats[kind], value))


def array(name, kind, values):
    if kind == STRING:
        data = b"".join(string(v) for v in values)
    else:
        data = struct.pack("<%d%s" % (len(values), {U8: "B", I32: "i", F32: "f"}[kind]), *values)
    return string(name) + struct.pack("<IIQ", ARRAY, kind, len(values)) + data


def f16(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


def encode_q8_0(values):
    """As ggml's quantize_row_q8_0_ref: in fp32, halves away from zero."""
    out = []
    for at in range(0, len(values), 32):
        block = values[at:at + 32]
        d = struct.unpack("<f", struct.pack("<f", max(abs(x) for x in block) / 127))[0]
        inverse = struct.unpack("<f", struct.pack("<f", 1 / d))[0] if d else 0.0
        codes = []
        for x in block:
            y = struct.unpack("<f", struct.pack("<f", x * inverse))[0]
            codes.append(int(y + 0.5) if y >= 0 else -int(-y + 0.5))
        out.append(struct.pack("<e32b", d, *codes))
    return b"".join(out)


def encode(kind, values):
    if kind == "Q8_0":
        return encode_q8_0(values)
    if kind == "BF16":                  # exact for values that were of this type
        return b"".join(struct.pack("<f", x)[2:] for x in values)
    return struct.pack("<%d%s" % (len(values), "e" if kind == "F16" else "f"), *values)


def squeeze(shape):
    shape = [n for n in shape if n != 1]
    return shape or [1]


def pick_type(name, shape, kind):
    """Vectors, norms, positions and token types stay fp32; rows that are no whole blocks become F16."""
    if len(shape) < 2 or name.endswith("_norm.weight") or name.startswith(("position_embd", "token_types")) or not name.endswith(".weight"):
        return "F32"
    if kind == "Q8_0" and shape[-1] % 32 != 0:
        return "F16"
    return kind


def write(path, keys, tensors, kind):
    entries, data = [], b""
    for name, (shape, values) in tensors:
        shape = squeeze(shape)
        own = pick_type(name, shape, kind)
        raw = encode(own, values)
        dims = list(reversed(shape))
        entries.append(string(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", n) for n in dims)
                       + struct.pack("<IQ", TYPES[own], len(data)))
        data += raw + b"\0" * (-len(raw) % ALIGNMENT)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(keys)) + b"".join(keys) + b"".join(entries)
    with open(path, "wb") as f:
        f.write(header + b"\0" * (-len(header) % ALIGNMENT) + data)


# ------------------------------------------------------------------ tensors

BERT_LAYER = {
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
    # DistilBERT
    "attention.q_lin": "attn_q", "attention.k_lin": "attn_k", "attention.v_lin": "attn_v", "attention.out_lin": "attn_output",
    "sa_layer_norm": "attn_output_norm", "ffn.lin1": "ffn_up", "ffn.lin2": "ffn_down", "output_layer_norm": "layer_output_norm",
    # NomicBert
    "attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output", "norm1": "attn_output_norm", "norm2": "layer_output_norm",
    "mlp.fc11": "ffn_up", "mlp.fc12": "ffn_gate", "mlp.fc2": "ffn_down",
}
MODERN_LAYER = {
    "attn.Wqkv": "attn_qkv", "attn.Wo": "attn_output", "attn_norm": "attn_norm", "mlp.Wi": "ffn_up", "mlp.Wo": "ffn_down",
    "mlp_norm": "ffn_norm",
}
GEMMA_LAYER = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
WHOLE = {
    "embed_tokens": "token_embd", "norm": "output_norm", "2_Dense.linear": "dense_2", "3_Dense.linear": "dense_3",
    "embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm", "emb_ln": "token_embd_norm",
    "embeddings.tok_embeddings": "token_embd", "embeddings.norm": "token_embd_norm", "final_norm": "output_norm",
    "classifier.dense": "cls", "classifier.out_proj": "cls.output", "pre_classifier": "cls", "head.dense": "cls", "head.norm": "cls.norm",
}
PREFIXES = ("bert.", "roberta.", "distilbert.", "model.")


def own_name(name, layer):
    """The tensor's name in the file; None: it is dropped."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            name = name[len(prefix):]
    stem, leaf = name.rsplit(".", 1)
    leaf = {"gamma": "weight", "beta": "bias"}.get(leaf, leaf)
    if stem == "classifier":
        stem = "classifier.out_proj"
    if stem == "pooler.dense" or stem.startswith("cls."):
        return None
    match = re.fullmatch(r"(?:encoder\.layers?|transformer\.layer|layers)\.(\d+)\.(.+)", stem)
    if match:
        return "blk.%s.%s.%s" % (match[1], layer[match[2]], leaf)
    return "%s.%s" % (WHOLE[stem], leaf)


def convert_tensors(tensors, arch, position_offset):
    out = []
    for name, (shape, values) in tensors.items():
        if arch == "nomic-bert" and name.startswith("classifier."):
            continue                    # llama.cpp knows no classifier of NomicBert
        new = own_name(name, {"modern-bert": MODERN_LAYER, "gemma-embedding": GEMMA_LAYER}.get(arch, BERT_LAYER))
        if new is None:
            continue
        if new == "position_embd.weight" and position_offset:
            shape, values = [shape[0] - position_offset, shape[1]], values[position_offset * shape[1]:]
        if arch == "gemma-embedding" and new.endswith("_norm.weight"):
            values = [struct.unpack("<f", struct.pack("<f", x + 1.0))[0] for x in values]
        out.append((new, (shape, values)))
    return out


# ---------------------------------------------------------------- tokenizer

def special_keys(config, ids):
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "seperator": "sep_token", "padding": "pad_token",
             "cls": "cls_token", "mask": "mask_token"}
    out = []
    for name, role in names.items():
        token = config.get(role)
        token = token.get("content") if isinstance(token, dict) else token
        if token in ids:
            out.append(key("tokenizer.ggml.%s_token_id" % name, U32, ids[token]))
    return out


def tokenizer_keys(directory, arch, n_vocab, n_types):
    data = read_json(directory, "tokenizer.json")
    config = read_json(directory, "tokenizer_config.json")
    model = data["model"]
    added = {t["id"]: t for t in data.get("added_tokens", [])}
    if isinstance(model["vocab"], list):
        ids = {piece: i for i, (piece, _) in enumerate(model["vocab"])}
    else:
        ids = dict(model["vocab"])
    ids.update({t["content"]: t["id"] for t in added.values()})
    pieces = {i: piece for piece, i in ids.items()}
    tokens, types = [], []
    for i in range(n_vocab):
        piece = pieces.get(i, "[PAD%d]" % i)
        kind = UNUSED if i not in pieces else NORMAL if i not in added else CONTROL if added[i]["special"] else USER_DEFINED
        tokens.append(piece)
        types.append(kind)
    kind = model.get("type", "WordPiece")
    out = []
    if kind == "WordPiece":
        tokens = [t if k == CONTROL else t[2:] if t.startswith("##") else "\u2581" + t for t, k in zip(tokens, types)]
        out += [key("tokenizer.ggml.model", STRING, "bert"), key("tokenizer.ggml.pre", STRING, "bert-bge")]
    elif kind == "Unigram":
        out += [key("tokenizer.ggml.model", STRING, "t5"), key("tokenizer.ggml.pre", STRING, "default")]
        types[model["unk_id"]] = UNKNOWN
        scores = [model["vocab"][i][1] if i < len(model["vocab"]) else -10000.0 for i in range(n_vocab)]
        out += [array("tokenizer.ggml.scores", F32, scores), key("tokenizer.ggml.add_space_prefix", BOOL, True),
                key("tokenizer.ggml.remove_extra_whitespaces", BOOL, True)]
        for step in data["normalizer"].get("normalizers", [data["normalizer"]]):
            if step["type"] == "Precompiled":
                out.append(array("tokenizer.ggml.precompiled_charsmap", U8, base64.b64decode(step["precompiled_charsmap"])))
    elif arch == "gemma-embedding":
        # merges are not kept: scores are, of a SentencePiece model; runs of spaces as the conversion spells them
        rank = {tuple(m): -float(i) for i, m in enumerate(model["merges"])}
        scores = {"".join(m): score for m, score in reversed(rank.items())}
        out += [key("tokenizer.ggml.model", STRING, "llama"), key("tokenizer.ggml.pre", STRING, "default"),
                array("tokenizer.ggml.scores", F32, [0.0 if k == USER_DEFINED else scores.get(t, -1000.0) for t, k in zip(tokens, types)]),
                key("tokenizer.ggml.add_space_prefix", BOOL, False), key("tokenizer.ggml.add_bos_token", BOOL, True),
                key("tokenizer.ggml.add_eos_token", BOOL, True)]
        types = [UNKNOWN if t == "<unk>" else BYTE if re.fullmatch("<0x[0-9A-F]{2}>", t) else k for t, k in zip(tokens, types)]
        tokens = [t.replace("\u2581", " ") if k == USER_DEFINED else t for t, k in zip(tokens, types)]
    else:
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        pre = "modern-bert" if arch == "modern-bert" else "roberta-bpe"
        out += [key("tokenizer.ggml.model", STRING, "gpt2"), key("tokenizer.ggml.pre", STRING, pre), array("tokenizer.ggml.merges", STRING, merges)]
    out += [array("tokenizer.ggml.tokens", STRING, tokens), array("tokenizer.ggml.token_type", I32, types)]
    if arch != "modern-bert":
        out.append(key("tokenizer.ggml.token_type_count", U32, n_types))
    if arch == "modern-bert":
        out += [key("tokenizer.ggml.add_%s_token" % role, BOOL, True) for role in ("bos", "eos", "sep")]
    return out + special_keys(config, ids)


# -------------------------------------------------------------------- model

ARCHES = {"bert": "bert", "roberta": "bert", "xlm-roberta": "bert", "distilbert": "bert", "nomic_bert": "nomic-bert", "modernbert": "modern-bert",
          "gemma3_text": "gemma-embedding"}
NONE, MEAN, CLS, LAST, RANK = range(5)


def find(config, *names):
    return next((config[n] for n in names if config.get(n) is not None), None)


def pooling_keys(directory, config, arch):
    pooling = None
    for module in read_json(directory, "modules.json") or []:
        if module["type"] == "sentence_transformers.models.Pooling":
            modes = read_json(directory, os.path.join(module["path"], "config.json"))
            pooling = MEAN if modes.get("pooling_mode_mean_tokens") else CLS if modes.get("pooling_mode_cls_token") else None
    if arch == "nomic-bert":
        pooling = MEAN
    elif any("ForSequenceClassification" in a for a in config.get("architectures", [])):
        pooling = RANK
    out = [] if pooling is None else [key(arch + ".pooling_type", U32, pooling)]
    if pooling == RANK:
        out.append(array(arch + ".classifier.output_labels", STRING, [v for _, v in sorted(config.get("id2label", {}).items())]))
    return out


def model_keys(directory, config, arch, kind, position_offset):
    def own(name, value, of=U32):
        return [] if value is None else [key("%s.%s" % (arch, name), of, value)]

    heads = find(config, "num_attention_heads", "n_head", "n_heads")
    context = find(config, "max_position_embeddings", "n_positions") - position_offset
    rope = config.get("rope_parameters") or {}
    full, local = rope.get("full_attention", rope), rope.get("sliding_attention", {})
    out = [key("general.architecture", STRING, arch), key("general.type", STRING, "model"), key("general.name", STRING, "Embeddinggemma 300M" if arch == "gemma-embedding" else "Tiny")]
    out += own("block_count", find(config, "num_hidden_layers", "n_layers", "n_layer"))
    out += own("context_length", context)
    out += own("embedding_length", find(config, "hidden_size", "n_embd", "dim"))
    out += own("feed_forward_length", find(config, "intermediate_size", "n_inner", "hidden_dim"))
    out += own("attention.head_count", heads)
    out += own("rope.freq_base", find(config, "global_rope_theta", "rotary_emb_base") or full.get("rope_theta"), F32)
    out += own("rope.freq_base_swa", config.get("local_rope_theta") or local.get("rope_theta"), F32)
    if arch == "gemma-embedding":
        out += own("attention.head_count_kv", config["num_key_value_heads"])
        out += own("attention.key_length", config["head_dim"]) + own("attention.value_length", config["head_dim"])
        out += own("attention.layer_norm_rms_epsilon", config["rms_norm_eps"], F32)
        out += own("attention.sliding_window", config["sliding_window"])
        out += own("attention.sliding_window_pattern", config["layer_types"].index("full_attention") + 1)
        out += own("rope.freq_base", config["rope_theta"], F32)
        for i, name in enumerate(("2_Dense", "3_Dense")):
            dense = read_json(directory, name + "/config.json")
            out += own("dense_%d_feat_in" % (i + 2), dense["in_features"]) + own("dense_%d_feat_out" % (i + 2), dense["out_features"])
        return out + [key("general.file_type", U32, FILE_TYPES[kind])] + pooling_keys(directory, config, arch)
    out += own("attention.layer_norm_epsilon", find(config, "layer_norm_eps", "layer_norm_epsilon", "norm_eps") or 1e-12, F32)
    out += own("attention.causal", False, BOOL)
    out += [key("general.file_type", U32, FILE_TYPES[kind])]
    if arch == "modern-bert":
        out += own("attention.sliding_window", config["local_attention"])
        out += own("attention.sliding_window_pattern", config.get("global_attn_every_n_layers", 3))
        out += own("rope.scaling.type", "none", STRING)
        out += own("hidden_activation", config.get("hidden_activation"), STRING)
    return out + pooling_keys(directory, config, arch)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", choices=sorted(TYPES), default="F32")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--no-dense", action="store_true", help="drop EmbeddingGemma's Dense modules, as the conversion does unless it is told not to")
    parser.add_argument("directory")
    parser.add_argument("file")
    args = parser.parse_args()
    config = read_json(args.directory, "config.json")
    arch = ARCHES[config["model_type"]]
    offset = 1 + config["pad_token_id"] if config["model_type"] in ("roberta", "xlm-roberta") else 0
    weights = read_safetensors(os.path.join(args.directory, "model.safetensors"))
    for name in ("2_Dense", "3_Dense") if arch == "gemma-embedding" and not args.no_dense else ():
        own = read_safetensors(os.path.join(args.directory, name, "model.safetensors"))
        weights.update({name + "." + tensor: value for tensor, value in own.items()})
    tensors = convert_tensors(weights, arch, offset)
    n_vocab = next(shape[0] for name, (shape, _) in tensors if name == "token_embd.weight")
    keys = model_keys(args.directory, config, arch, args.type, offset)
    keys += tokenizer_keys(args.directory, arch, n_vocab, config.get("type_vocab_size", 1))
    if args.shards == 1:
        write(args.file, keys, tensors, args.type)
        return
    step = -(-len(tensors) // args.shards)
    for i in range(args.shards):
        split = [string("split.no") + struct.pack("<IH", 2, i), string("split.count") + struct.pack("<IH", 2, args.shards),
                 key("split.tensors.count", I32, len(tensors))]
        name = "%s-%05d-of-%05d.gguf" % (re.sub(r"\.gguf$", "", args.file), i + 1, args.shards)
        write(name, (keys if i == 0 else []) + split, tensors[i * step:(i + 1) * step], args.type)


if __name__ == "__main__":
    main()
