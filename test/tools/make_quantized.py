#!/usr/bin/env python3
"""Writes tiny quantized checkpoints and what they mean, computed by numpy.

    make_quantized.py DEST              (needs numpy)

One BERT of random weights, its linear layers quantized by rounding in the layouts of GPTQ, AWQ,
compressed-tensors and bitsandbytes: DEST/quantized-NAME/model. dequantized.json has the SHA-256 of each
dequantized matrix (fp32, row after row), embeddings.npy the vectors, computed in double with these
matrices. The layouts are written from their descriptions, not from embed's code. Seeded: the same bytes
every time.
"""
import hashlib
import json
import os
import shutil
import struct
import sys

import numpy as np

import make_st_models as st
from make_torch_files import save_zip

st.HIDDEN, st.LAYERS, st.HEADS, st.WIDE, st.POSITIONS = 64, 2, 2, 96, 24

CONFIG = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": st.HIDDEN, "num_hidden_layers": st.LAYERS,
          "num_attention_heads": st.HEADS, "intermediate_size": st.WIDE, "vocab_size": len(st.VOCAB),
          "max_position_embeddings": st.POSITIONS, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12}

NF4 = np.array([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
                -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], dtype=np.float32)
FP4 = np.array([0.0, 0.0052083334885537624, 0.6666666865348816, 1.0, 0.3333333432674408, 0.5, 0.1666666716337204, 0.25,
                0.0, -0.0052083334885537624, -0.6666666865348816, -1.0, -0.3333333432674408, -0.5, -0.1666666716337204, -0.25],
               dtype=np.float32)


# ---------------------------------------------------------------- number formats

def bf16(x):
    """float32 values that bfloat16 holds, rounded to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    bits = bits + 0x7FFF + (bits >> 16 & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32).reshape(np.shape(x))


def f16(x):
    return np.asarray(x, np.float16).astype(np.float32)


class Raw:
    """A tensor as the file has it."""

    def __init__(self, dtype, array):
        self.dtype, self.shape = dtype, list(array.shape)
        if dtype == "BF16":
            self.bytes = (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
        else:
            kind = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I8": np.int8, "U8": np.uint8}[dtype]
            self.bytes = np.ascontiguousarray(array).astype(kind).tobytes()


def save(tensors, path):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    # large elements first: no tensor begins at an odd place
    for name in sorted(tensors, key=lambda n: (-{"I64": 8, "I32": 4, "F32": 4}.get(tensors[n].dtype, 1), n)):
        t = tensors[name]
        header[name] = {"dtype": t.dtype, "shape": t.shape, "data_offsets": [len(data), len(data) + len(t.bytes)]}
        data += t.bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def pack(codes, bits, axis):
    """Codes to words, the first one lowest, along an axis; the last word may have zeros at its end."""
    codes = np.moveaxis(codes.astype(np.uint32), axis, -1)
    n = 32 // bits
    room = np.zeros(codes.shape[:-1] + (-codes.shape[-1] % n,), np.uint32)
    codes = np.concatenate([codes, room], -1)
    codes = codes.reshape(codes.shape[:-1] + (codes.shape[-1] // n, n))
    words = np.bitwise_or.reduce(codes << (np.arange(n, dtype=np.uint32) * bits), axis=-1)
    return np.moveaxis(words.astype(np.uint32), -1, axis).view(np.int32)


# ------------------------------------------------------------------- quantizing

def round_groups(w, groups, n_groups, bits, symmetric, to_format):
    """codes [out, in], scales and zeros [out, groups]; groups: the group of each input."""
    top = 2 ** bits - 1
    codes = np.zeros(w.shape, np.int64)
    scales = np.zeros((w.shape[0], n_groups), np.float32)
    zeros = np.zeros((w.shape[0], n_groups), np.int64)
    for g in range(n_groups):
        part = w[:, groups == g]
        if symmetric:
            scale = to_format(np.abs(part).max(axis=1) / (top // 2))
            zero = np.full(len(w), (top + 1) // 2)
        else:
            low, high = np.minimum(part.min(axis=1), 0), np.maximum(part.max(axis=1), 0)
            scale = to_format((high - low) / top)
            zero = np.clip(np.rint(-low / scale), 0, top).astype(np.int64)
        codes[:, groups == g] = np.clip(np.rint(part / scale[:, None]) + zero[:, None], 0, top).astype(np.int64)
        scales[:, g], zeros[:, g] = scale, zero
    return codes, scales, zeros


def dequantized(codes, scales, zeros, groups):
    return (codes - zeros[:, groups]).astype(np.float32) * scales[:, groups]


def ascending(n_in, group):
    return np.arange(n_in) // group


def gptq(name, w, bits=4, group=32, symmetric=True, first=True, groups=None, numbers=None):
    """numbers: what g_idx says instead of groups."""
    if group < 0:
        group = w.shape[1]
    if groups is None:
        groups = ascending(w.shape[1], group)
    codes, scales, zeros = round_groups(w, groups, groups.max() + 1, bits, symmetric, f16)
    stored = (zeros - 1) % 2 ** bits if first else zeros
    return {name + ".qweight": Raw("I32", pack(codes.T, bits, 0)), name + ".qzeros": Raw("I32", pack(stored.T, bits, 1)),
            name + ".scales": Raw("F16", scales.T), name + ".g_idx": Raw("I32", groups if numbers is None else numbers)}, \
        dequantized(codes, scales, zeros, groups)


def awq(name, w, group=32):
    groups = ascending(w.shape[1], group)
    codes, scales, zeros = round_groups(w, groups, groups.max() + 1, 4, False, f16)
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def words(x):   # [rows, out]: field i of a word is column order[i] of its eight
        return pack(x.reshape(len(x), -1, 8)[:, :, order].reshape(len(x), -1), 4, 1)

    return {name + ".qweight": Raw("I32", words(codes.T)), name + ".qzeros": Raw("I32", words(zeros.T)), name + ".scales": Raw("F16", scales.T)}, \
        dequantized(codes, scales, zeros, groups)


def packed(name, w, bits=4, group=32, symmetric=True, groups=None, placeholder=False):
    given = groups is not None
    if not given:
        groups = ascending(w.shape[1], group)
    codes, scales, zeros = round_groups(w, groups, groups.max() + 1, bits, symmetric, bf16)
    out = {name + ".weight_packed": Raw("I32", pack(codes, bits, 1)), name + ".weight_scale": Raw("BF16", scales),
           name + ".weight_shape": Raw("I64", np.array(w.shape))}
    if not symmetric:
        out[name + ".weight_zero_point"] = Raw("I32", pack(zeros, bits, 0))
    if given or placeholder:
        out[name + ".weight_g_idx"] = Raw("I32", groups if given else np.full(w.shape[1], -1))
    return out, dequantized(codes, scales, zeros, groups)


def signed(name, w, strategy="channel", symmetric=True, block=None):
    """int8 [out, in]; one scale an output, for all, or for each block."""
    rows, cols = {"channel": (1, w.shape[1]), "tensor": w.shape, "block": block}[strategy]
    n_rows, n_cols = -(-w.shape[0] // rows), -(-w.shape[1] // cols)
    scales, zeros = np.zeros((n_rows, n_cols), np.float32), np.zeros((n_rows, n_cols), np.int64)
    value, codes = np.zeros(w.shape, np.float32), np.zeros(w.shape, np.int64)
    for i in range(n_rows):
        for k in range(n_cols):
            at = np.s_[i * rows:(i + 1) * rows, k * cols:(k + 1) * cols]
            part = w[at]
            if symmetric:
                scales[i, k] = bf16(np.abs(part).max() / 127)
            else:
                scales[i, k] = bf16((max(part.max(), 0) - min(part.min(), 0)) / 255)
                zeros[i, k] = np.clip(np.rint(-128 - min(part.min(), 0) / scales[i, k]), -128, 127)
            codes[at] = np.clip(np.rint(part / scales[i, k]) + zeros[i, k], -128, 127)
            value[at] = (codes[at] - zeros[i, k]).astype(np.float32) * scales[i, k]
    shape = (1,) if strategy == "tensor" else scales.shape
    out = {name + ".weight": Raw("I8", codes), name + ".weight_scale": Raw("BF16", scales.reshape(shape))}
    if not symmetric:
        out[name + ".weight_zero_point"] = Raw("I8", zeros.reshape(shape))
    return out, value


def nibbles(name, w, kind, values, nested):
    """bitsandbytes' 4 bits: blocks of 64 elements run over the ends of rows."""
    flat = w.reshape(-1)
    n_blocks = -(-len(flat) // 64)
    blocks = np.resize(np.concatenate([flat, np.zeros(n_blocks * 64 - len(flat), np.float32)]), (n_blocks, 64))
    absmax = np.abs(blocks).max(axis=1).astype(np.float32)
    codes = np.abs(blocks[:, :, None] / absmax[:, None, None] - values).argmin(axis=2).reshape(-1)[:len(flat)]
    state = {"quant_type": kind, "blocksize": 64, "dtype": "float16", "shape": list(w.shape)}
    at = name + ".weight"
    out = {at: Raw("U8", (codes[0::2] << 4 | codes[1::2]).reshape(-1, 1)), at + ".quant_map": Raw("F32", values)}
    if nested:
        table = np.sort(np.concatenate([np.linspace(-1, 1, 128) ** 3, np.linspace(-0.99, 1, 128)])).astype(np.float32)
        offset = np.float32(absmax.mean())
        rest = absmax - offset
        groups = np.arange(n_blocks) // 32
        tops = np.array([np.abs(rest[groups == g]).max() for g in range(groups.max() + 1)], np.float32)
        small = np.abs(rest[:, None] / tops[groups][:, None] - table).argmin(axis=1)
        absmax = table[small] * tops[groups]
        absmax = absmax + offset
        state.update(nested_blocksize=32, nested_dtype="float32", nested_offset=float(offset))
        out.update({at + ".absmax": Raw("U8", small), at + ".nested_absmax": Raw("F32", tops), at + ".nested_quant_map": Raw("F32", table)})
    else:
        out[at + ".absmax"] = Raw("F32", absmax)
    out[at + ".quant_state.bitsandbytes__" + kind] = Raw("U8", np.frombuffer(json.dumps(state).encode(), np.uint8))
    return out, (values[codes] * absmax[np.arange(len(flat)) // 64]).reshape(w.shape)


def llm_int8(name, w):
    top = np.abs(w).max(axis=1).astype(np.float32)
    codes = np.clip(np.rint(w * (np.float32(127) / top)[:, None]), -127, 127).astype(np.int64)
    value = codes.astype(np.float32) * top[:, None]
    return {name + ".weight": Raw("I8", codes), name + ".SCB": Raw("F32", top), name + ".weight_format": Raw("U8", np.array(0))}, \
        value * np.float32(7.874015718698502e-3)


# ---------------------------------------------------------------------- models

def scattered(rng, n_in, group):
    return rng.permutation(ascending(n_in, group))


def gptq_order(rng):
    """A random order for each layer; query, key and value see one partition of their inputs."""
    shared = scattered(rng, st.HIDDEN, 32)

    def layer(name, w):
        groups = scattered(rng, w.shape[1], 32)
        numbers = None
        if ".self." in name:
            groups = shared if not name.endswith("value") else 1 - shared
        if name == "encoder.layer.0.intermediate.dense":
            numbers = groups - 2                # counted from the end
        if name == "encoder.layer.1.attention.output.dense":
            groups = groups.copy()
            groups[np.flatnonzero(groups == 0)[0]] = 1      # 31 and 33 inputs
        return gptq(name, w, symmetric=False, groups=groups, numbers=numbers)

    return layer


def mixed_gptq(rng):
    def layer(name, w):
        if name == "encoder.layer.1.output.dense":
            return None
        if name == "encoder.layer.0.intermediate.dense":
            return gptq(name, w, bits=8, group=64)
        if name == "encoder.layer.0.output.dense":      # 64 and 32 inputs; an input of the shorter group is first
            groups = scattered(rng, w.shape[1], 64)
            return gptq(name, w, groups=np.roll(groups, -np.flatnonzero(groups == 1)[0]))
        return gptq(name, w)

    return layer


def mixed_pack(rng):
    def layer(name, w):
        if "layer.1" in name:
            return packed(name, w, bits=8, group=w.shape[1], symmetric=True)
        if ".self." in name:
            return packed(name, w, symmetric=False, placeholder=True)
        return packed(name, w, symmetric=False, groups=scattered(rng, w.shape[1], 32))

    return layer


def mixed_int8(rng):
    def layer(name, w):
        if name.endswith("query"):
            return signed(name, w, "tensor")
        return signed(name, w, symmetric="layer.0" in name)

    return layer


def compressed(form, **groups):
    def group(bits, strategy, symmetric=True, size=None, block=None):
        return {"targets": ["Linear"], "input_activations": None, "output_activations": None,
                "weights": {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": strategy, "group_size": size,
                            "block_structure": block, "dynamic": False, "actorder": None}}

    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed", "ignore": ["lm_head"],
            "config_groups": {"group_%d" % i: group(*g) for i, g in enumerate(groups.values())}}


GPTQ = {"bits": 4, "group_size": 32, "desc_act": False, "sym": True, "lm_head": False, "quant_method": "gptq", "checkpoint_format": "gptq",
        "pack_dtype": "int32", "dynamic": {"-:.*layer\\.1\\.output": {}, ".*layer\\.0\\.intermediate": {"bits": 8, "group_size": 64},
                    ".*layer\\.0\\.output": {"group_size": 64, "desc_act": True}}}
BNB = {"quant_method": "bitsandbytes", "load_in_8bit": False, "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
       "bnb_4bit_use_double_quant": True, "bnb_4bit_quant_storage": "uint8", "bnb_4bit_compute_dtype": "float16"}

# name: how a layer is stored, "quantization_config", files beside config.json
MODELS = {
    "gptq": (mixed_gptq, GPTQ, {"quantize_config.json": GPTQ}),
    "gptq-order": (gptq_order, None, {"quantize_config.json": {"bits": 4, "group_size": 32, "desc_act": True, "sym": False,
                                                               "damp_percent": 0.01, "true_sequential": True}}),
    "gptq-8bit": (lambda rng: lambda name, w: gptq(name, w, bits=8, group=-1, first=False),
                  {"bits": 8, "group_size": -1, "desc_act": False, "sym": True, "method": "gptq", "format": "gptq_v2"}, {}),
    "awq": (lambda rng: awq, None, {"quant_config.json": {"zero_point": True, "q_group_size": 32, "w_bit": 4, "version": "GEMM"}}),
    "ct-pack": (mixed_pack, compressed("pack-quantized", a=(4, "group", False, 32), b=(8, "channel")), {}),
    "ct-int8": (mixed_int8, compressed("int-quantized", a=(8, "channel"), b=(8, "channel", False), c=(8, "tensor")), {}),
    "ct-block": (lambda rng: lambda name, w: signed(name, w, "block", block=(24, 32)),
                 compressed("naive-quantized", a=(8, "block", True, None, [24, 32])), {}),
    "nf4": (lambda rng: lambda name, w: nibbles(name, w, "nf4", NF4, True), BNB, {}),
    "fp4": (lambda rng: lambda name, w: nibbles(name, w, "fp4", FP4, False),
            dict(BNB, bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=False), {}),
    "llm-int8": (lambda rng: llm_int8, {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False,
                                        "llm_int8_threshold": 6.0}, {}),
}


def write_model(dest, base, name, rng):
    make, config, files = MODELS[name]
    layer = make(rng)
    model = os.path.join(dest, "model")
    shutil.rmtree(dest, ignore_errors=True)
    os.makedirs(os.path.join(model, "1_Pooling"))
    tensors, values, hashes = {}, {}, {}
    for key, w in base.items():
        stem = key[:-len(".weight")]
        coded = layer(stem, w) if key.endswith((".dense.weight", ".query.weight", ".key.weight", ".value.weight")) else None
        if coded is None:
            tensors[key], values[key] = Raw("F16", w), w
            continue
        tensors.update(coded[0])
        values[key] = coded[1]
        hashes[key] = hashlib.sha256(np.ascontiguousarray(coded[1], np.float32).tobytes()).hexdigest()
    if name == "gptq-8bit":
        save_zip({key: (t.dtype, t.shape, t.bytes) for key, t in tensors.items()}, os.path.join(model, "pytorch_model.bin"))
    else:
        save(tensors, os.path.join(model, "model.safetensors"))
    st.save_json(dict(CONFIG, quantization_config=config) if config is not None else CONFIG, os.path.join(model, "config.json"))
    for file, value in files.items():
        st.save_json(value, os.path.join(model, file))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    st.save_json([{"idx": i, "name": str(i), "path": path, "type": st.PREFIX + kind} for i, (path, kind) in enumerate(modules)],
                 os.path.join(model, "modules.json"))
    st.save_json({"word_embedding_dimension": st.HIDDEN, "pooling_mode_mean_tokens": True}, os.path.join(model, "1_Pooling", "config.json"))
    st.save_json({"do_lower_case": True, "model_max_length": st.POSITIONS}, os.path.join(model, "tokenizer_config.json"))
    with open(os.path.join(model, "vocab.txt"), "w") as f:
        f.write("\n".join(st.VOCAB) + "\n")
    st.save_json(hashes, os.path.join(dest, "dequantized.json"))
    return values


def write_vectors(dest, values, rng):
    rows = []
    with open(os.path.join(dest, "inputs.jsonl"), "w") as f:
        for i, n in enumerate([0, 1, 3, 8, 20, 40]):
            words = [st.WORDS[k] for k in rng.integers(0, len(st.WORDS), n)]
            ids = [st.VOCAB.index("[CLS]")] + [st.VOCAB.index(word) for word in words][:st.POSITIONS - 2] + [st.VOCAB.index("[SEP]")]
            f.write(json.dumps({"i": i, "text": " ".join(words), "ids": ids, "n": len(ids)}) + "\n")
            rows.append(st.normalized(st.bert(values, ids).mean(axis=0)))
    np.save(os.path.join(dest, "embeddings.npy"), np.array(rows, dtype=np.float32))


def main():
    base = {name: f16(value) for name, value in st.weights(np.random.default_rng(23))[0].items()}
    for name, value in base.items():
        if name.endswith(".dense.weight"):
            value[0] = np.abs(value[0])         # an output whose zero point is 0
    for name in MODELS:
        dest = os.path.join(sys.argv[1], "quantized-" + name)
        write_vectors(dest, write_model(dest, base, name, np.random.default_rng(5)), np.random.default_rng(7))


if __name__ == "__main__":
    main()
