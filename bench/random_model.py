"""random_model.py SHAPE FROM OUT [F16|F32|BF16|GPTQ]: a model directory of random weights with the tokenizer of the directory FROM.

SHAPE: base, large (BERT), m3 (XLM-RoBERTa large with 8,192 positions and bge-m3's two heads), modernbert (ModernBERT-base), qwen3-0.6b
and qwen3-8b (Qwen3-Reranker, BF16 by default, with the tokenizer of Qwen3; qwen3-8b-2 has two of its layers). Weights are as
transformers initializes them: normal, deviation 0.02. What a shape costs does not depend on what its weights are; vectors of such
a model mean nothing. GPTQ: layers have random codes of 4 bits in groups of 128, the rest is in BF16. Tensors are written one after
the other, so that 16 GB take no memory, and to several files of at most 5 GB. The tokenizer of FROM may be packed: tokenizer.json.xz."""
import json
import lzma
import os
import shutil
import struct
import sys

import numpy as np

SHAPES = {  # hidden, layers, heads, intermediate, positions, token types
    "base": (768, 12, 12, 3072, 512, 2),
    "large": (1024, 24, 16, 4096, 512, 2),
    "m3": (1024, 24, 16, 4096, 8194, 1),
    "modernbert": (768, 22, 12, 1152, 8192, 0),
    "qwen3-0.6b": (1024, 28, 16, 3072, 40960, 0),
    "qwen3-8b": (4096, 36, 32, 12288, 40960, 0),
    "qwen3-8b-2": (4096, 2, 32, 12288, 40960, 0),
}
KV_HEADS, HEAD_SIZE = 8, 128  # of Qwen3's sizes
DEVIATION = 0.02
TYPES = {"F16": np.float16, "F32": np.float32, "BF16": np.uint16, "I32": np.int32}  # of BF16 the bits
SHARD_BYTES = 5 << 30
GROUP = 128  # inputs of a layer that share a scale in GPTQ
COPIED = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "sentencepiece.bpe.model")

if len(sys.argv) not in (4, 5) or sys.argv[1] not in SHAPES or sys.argv[-1] not in ("F16", "F32", "BF16", "GPTQ") and len(sys.argv) == 5:
    raise SystemExit(__doc__)
shape, source, out = sys.argv[1:4]
hidden, layers, heads, wide, positions, types = SHAPES[shape]
family = "qwen3" if shape.startswith("qwen3") else shape
dtype = sys.argv[4] if len(sys.argv) == 5 else "BF16" if family == "qwen3" else "F16"
is_gptq = dtype == "GPTQ"
dtype = "BF16" if is_gptq else dtype


def vocabulary_size():
    """From config.json, else from the tokenizer: the pieces of its model and the added tokens."""
    if os.path.exists(os.path.join(source, "config.json")):
        return json.load(open(os.path.join(source, "config.json")))["vocab_size"]
    tokenizer = json.load(open(os.path.join(out, "tokenizer.json")))
    return max([len(tokenizer["model"]["vocab"])] + [t["id"] + 1 for t in tokenizer["added_tokens"]])


def norm(name, bias=True):
    return [(name + ".weight", (hidden,), "ones")] + ([(name + ".bias", (hidden,), "zeros")] if bias else [])


def linear(name, n_out, n_in, bias=True):
    if is_gptq and "layers." in name:
        return [
            (name + ".qweight", (n_in // 8, n_out), "words"),
            (name + ".qzeros", (n_in // GROUP, n_out // 8), "eights"),
            (name + ".scales", (n_in // GROUP, n_out), "scales"),
            (name + ".g_idx", (n_in,), "groups"),
        ]
    return [(name + ".weight", (n_out, n_in), "random")] + ([(name + ".bias", (n_out,), "random")] if bias else [])


def bert_tensors(vocabulary):
    tensors = [("embeddings.word_embeddings.weight", (vocabulary, hidden), "random")]
    tensors += [("embeddings.position_embeddings.weight", (positions, hidden), "random")]
    tensors += [("embeddings.token_type_embeddings.weight", (types, hidden), "random")]
    tensors += norm("embeddings.LayerNorm")
    for i in range(layers):
        prefix = "encoder.layer.%d." % i
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            tensors += linear(prefix + name, hidden, hidden)
        tensors += norm(prefix + "attention.output.LayerNorm")
        tensors += linear(prefix + "intermediate.dense", wide, hidden) + linear(prefix + "output.dense", hidden, wide)
        tensors += norm(prefix + "output.LayerNorm")
    return tensors


def modernbert_tensors(vocabulary):
    tensors = [("embeddings.tok_embeddings.weight", (vocabulary, hidden), "random")] + norm("embeddings.norm", False)
    for i in range(layers):
        prefix = "layers.%d." % i
        tensors += norm(prefix + "attn_norm", False) if i > 0 else []
        tensors += linear(prefix + "attn.Wqkv", 3 * hidden, hidden, False) + linear(prefix + "attn.Wo", hidden, hidden, False)
        tensors += norm(prefix + "mlp_norm", False)
        tensors += linear(prefix + "mlp.Wi", 2 * wide, hidden, False) + linear(prefix + "mlp.Wo", hidden, wide, False)
    return tensors + norm("final_norm", False)


def qwen3_tensors(vocabulary):
    tensors = [("model.embed_tokens.weight", (vocabulary, hidden), "random")]
    for i in range(layers):
        prefix = "model.layers.%d." % i
        for name, n_out, n_in in (
            ("self_attn.q_proj", heads * HEAD_SIZE, hidden),
            ("self_attn.k_proj", KV_HEADS * HEAD_SIZE, hidden),
            ("self_attn.v_proj", KV_HEADS * HEAD_SIZE, hidden),
            ("self_attn.o_proj", hidden, heads * HEAD_SIZE),
            ("mlp.gate_proj", wide, hidden),
            ("mlp.up_proj", wide, hidden),
            ("mlp.down_proj", hidden, wide),
        ):
            tensors += linear(prefix + name, n_out, n_in, False)
        tensors += norm(prefix + "input_layernorm", False) + norm(prefix + "post_attention_layernorm", False)
        tensors += [(prefix + "self_attn.%s_norm.weight" % name, (HEAD_SIZE,), "ones") for name in "qk"]
    return tensors + norm("model.norm", False)


def stored(values, as_type):
    """fp32 values as the bytes of the file; BF16 rounds to the nearest."""
    if as_type != "BF16":
        return values.astype(TYPES[as_type]).tobytes()
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).tobytes()


def type_of(kind):
    return {"words": "I32", "eights": "I32", "groups": "I32", "scales": "F16"}.get(kind, dtype)


def size_of(shape, kind):
    return int(np.prod(shape)) * np.dtype(TYPES[type_of(kind)]).itemsize


def pieces(generator, shape, kind):
    """The bytes of a tensor, piece by piece. A zero of 8 is stored as 7 in GPTQ; a code's deviation is 4.6 scales."""
    whole = {
        "ones": lambda: stored(np.ones(shape, np.float32), dtype),
        "zeros": lambda: stored(np.zeros(shape, np.float32), dtype),
        "eights": lambda: np.full(shape, 0x77777777, np.int32).tobytes(),
        "groups": lambda: (np.arange(shape[0], dtype=np.int32) // GROUP).tobytes(),
        "scales": lambda: stored(generator.uniform(0.8, 1.2, shape) * (DEVIATION / 4.6), "F16"),
    }
    if kind in whole:
        yield whole[kind]()
        return
    for row in range(0, shape[0], 16384):
        part = (min(16384, shape[0] - row),) + shape[1:]
        if kind == "words":
            yield generator.bytes(int(np.prod(part)) * 4)
        else:
            yield stored(generator.standard_normal(part, dtype=np.float32) * np.float32(DEVIATION), dtype)


def write_file(path, tensors, generator):
    """A safetensors file: the length of the header, the header, the tensors in its order."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, kind in tensors:
        size = size_of(shape, kind)
        header[name] = {"dtype": type_of(kind), "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape, kind in tensors:
            for part in pieces(generator, shape, kind):
                file.write(part)


def write_weights(path, tensors):
    """One file, or numbered ones with their index."""
    generator = np.random.default_rng(1)
    shards, filled = [[]], 0
    for tensor in tensors:
        filled += size_of(*tensor[1:])
        if filled > SHARD_BYTES and shards[-1]:
            shards, filled = shards + [[]], size_of(*tensor[1:])
        shards[-1].append(tensor)
    names = ["model-%05d-of-%05d.safetensors" % (i + 1, len(shards)) for i in range(len(shards))] if len(shards) > 1 else [os.path.basename(path)]
    for name, shard in zip(names, shards):
        write_file(os.path.join(os.path.dirname(path), name), shard, generator)
    if len(shards) > 1:
        total = sum(size_of(*tensor[1:]) for tensor in tensors)
        index = {tensor[0]: name for name, shard in zip(names, shards) for tensor in shard}
        dump({"metadata": {"total_size": total}, "weight_map": index}, "model.safetensors.index.json")


def bert_config(vocabulary):
    kind = {"architectures": ["BertModel"], "model_type": "bert", "layer_norm_eps": 1e-12, "pad_token_id": 0}
    if shape == "m3":
        kind = {"architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "layer_norm_eps": 1e-05, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    return dict(kind, intermediate_size=wide, hidden_act="gelu", type_vocab_size=types)


def modernbert_config(vocabulary):
    return {
        "architectures": ["ModernBertModel"],
        "model_type": "modernbert",
        "intermediate_size": wide,
        "hidden_activation": "gelu",
        "norm_eps": 1e-05,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "local_attention": 128,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "pad_token_id": 0,
    }


def qwen3_config(vocabulary):
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "intermediate_size": wide,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "attention_bias": False,
        "use_sliding_window": False,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        **({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True}} if is_gptq else {}),
    }


def dump(value, *path):
    json.dump(value, open(os.path.join(out, *path), "w"))


def copy_tokenizer():
    for name in COPIED:
        if os.path.exists(os.path.join(source, name)):
            shutil.copy(os.path.join(source, name), out)
    packed = os.path.join(source, "tokenizer.json.xz")
    if os.path.exists(packed) and not os.path.exists(os.path.join(source, "tokenizer.json")):
        with lzma.open(packed) as file, open(os.path.join(out, "tokenizer.json"), "wb") as copy:
            shutil.copyfileobj(file, copy)


def answers():
    """ids of "yes" and "no" in the tokenizer's vocabulary"""
    pieces = json.load(open(os.path.join(out, "tokenizer.json")))["model"]["vocab"]
    return {"true_token_id": pieces["yes"], "false_token_id": pieces["no"]}


def write_decoder():
    """What sentence-transformers keeps beside a Qwen3 reranker's weights: that its score is a difference of two logits."""
    os.makedirs(os.path.join(out, "1_LogitScore"), exist_ok=True)
    dump(answers(), "1_LogitScore", "config.json")
    dump({"tokenizer_class": "Qwen2Tokenizer", "model_max_length": 131072, "add_bos_token": False}, "tokenizer_config.json")
    dump({"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Sigmoid"}, "config_sentence_transformers.json")
    kinds = [("", "base.modules.transformer.Transformer"), ("1_LogitScore", "cross_encoder.modules.logit_score.LogitScore")]
    dump([{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers." + kind} for i, (path, kind) in enumerate(kinds)], "modules.json")


def write_encoder():
    os.makedirs(os.path.join(out, "1_Pooling"), exist_ok=True)
    if shape == "m3":
        write_weights(os.path.join(out, "sparse_linear.safetensors"), linear("sparse_linear", 1, hidden))
        write_weights(os.path.join(out, "colbert_linear.safetensors"), linear("colbert_linear", hidden, hidden))
    dump({"word_embedding_dimension": hidden, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "1_Pooling", "config.json")
    dump({"max_seq_length": 8192 if positions > 8192 else positions, "do_lower_case": False}, "sentence_bert_config.json")
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    dump([{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind} for i, (path, kind) in enumerate(kinds)], "modules.json")


TENSORS = {"modernbert": modernbert_tensors, "qwen3": qwen3_tensors}
CONFIGS = {"modernbert": modernbert_config, "qwen3": qwen3_config}

os.makedirs(out, exist_ok=True)
copy_tokenizer()
vocabulary = vocabulary_size()
config = CONFIGS.get(family, bert_config)(vocabulary)
config.update(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, vocab_size=vocabulary, max_position_embeddings=positions)
write_weights(os.path.join(out, "model.safetensors"), TENSORS.get(family, bert_tensors)(vocabulary))
dump(config, "config.json")
if family == "qwen3":
    write_decoder()
else:
    write_encoder()
