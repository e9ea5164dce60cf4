"""random_model.py SHAPE FROM OUT [F16|F32|BF16|GPTQ]: a model directory of random weights with the tokenizer of the directory FROM.

SHAPE: small, small-zh, small-multi, base, large (BERT), m3 (XLM-RoBERTa large with 8,192 positions and bge-m3's two heads), m3-rerank
(the same as bge-reranker-v2-m3), modernbert (ModernBERT-base), ettin-17m (ettin-reranker-17m with its modules), nomic (NomicBert),
sparse (DistilBERT with its head over the vocabulary), static (model2vec), qwen3-embed-0.6b (Qwen3-Embedding), qwen3-0.6b and qwen3-8b
(Qwen3-Reranker, BF16 by default, with the tokenizer of Qwen3; qwen3-8b-2 has two of its layers). Weights are as
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
    "small": (384, 12, 12, 1536, 512, 2),
    "small-zh": (512, 4, 8, 2048, 512, 2),
    "small-multi": (384, 12, 12, 1536, 512, 2),
    "base": (768, 12, 12, 3072, 512, 2),
    "large": (1024, 24, 16, 4096, 512, 2),
    "m3": (1024, 24, 16, 4096, 8194, 1),
    "m3-rerank": (1024, 24, 16, 4096, 8194, 1),
    "modernbert": (768, 22, 12, 1152, 8192, 0),
    "ettin-17m": (256, 7, 4, 384, 8192, 0),
    "nomic": (768, 12, 12, 3072, 8192, 2),
    "sparse": (768, 6, 12, 3072, 512, 0),
    "static": (512, 0, 0, 0, 0, 0),
    "qwen3-embed-0.6b": (1024, 28, 16, 3072, 40960, 0),
    "qwen3-0.6b": (1024, 28, 16, 3072, 40960, 0),
    "qwen3-8b": (4096, 36, 32, 12288, 40960, 0),
    "qwen3-8b-2": (4096, 2, 32, 12288, 40960, 0),
}
VOCABULARIES = {  # of the published models; the tokenizer of FROM may be smaller
    "small-zh": 21128,
    "small-multi": 250037,
    "modernbert": 50368,
    "ettin-17m": 50368,
    "nomic": 30528,
    "static": 63091,
    "qwen3-embed-0.6b": 151669,
}
FAMILIES = {"modernbert": "modernbert", "ettin-17m": "modernbert", "nomic": "nomic", "sparse": "distilbert", "static": "static"}
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
family = "qwen3" if shape.startswith("qwen3") else FAMILIES.get(shape, "bert")
is_wide_roberta = shape in ("m3", "m3-rerank")
dtype = sys.argv[4] if len(sys.argv) == 5 else "BF16" if family == "qwen3" else "F16"
is_gptq = dtype == "GPTQ"
dtype = "BF16" if is_gptq else dtype


def vocabulary_size():
    """From VOCABULARIES, else from config.json, else from the tokenizer: the pieces of its model and the added tokens."""
    if shape in VOCABULARIES:
        return VOCABULARIES[shape]
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
    tensors = []
    if shape == "m3-rerank":
        tensors += linear("classifier.dense", hidden, hidden) + linear("classifier.out_proj", 1, hidden)
    return [("roberta." * bool(tensors) + name, size, kind) for name, size, kind in encoder_tensors(vocabulary)] + tensors


def encoder_tensors(vocabulary):
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


def nomic_tensors(vocabulary):
    tensors = [("embeddings.word_embeddings.weight", (vocabulary, hidden), "random")]
    tensors += [("embeddings.token_type_embeddings.weight", (types, hidden), "random")] + norm("emb_ln")
    for i in range(layers):
        prefix = "encoder.layers.%d." % i
        tensors += linear(prefix + "attn.Wqkv", 3 * hidden, hidden, False) + linear(prefix + "attn.out_proj", hidden, hidden, False)
        tensors += linear(prefix + "mlp.fc11", wide, hidden, False) + linear(prefix + "mlp.fc12", wide, hidden, False)
        tensors += linear(prefix + "mlp.fc2", hidden, wide, False) + norm(prefix + "norm1") + norm(prefix + "norm2")
    return tensors


def distilbert_tensors(vocabulary):
    tensors = [("distilbert.embeddings.word_embeddings.weight", (vocabulary, hidden), "random")]
    tensors += [("distilbert.embeddings.position_embeddings.weight", (positions, hidden), "random")] + norm("distilbert.embeddings.LayerNorm")
    for i in range(layers):
        prefix = "distilbert.transformer.layer.%d." % i
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            tensors += linear(prefix + "attention." + name, hidden, hidden)
        tensors += norm(prefix + "sa_layer_norm") + linear(prefix + "ffn.lin1", wide, hidden) + linear(prefix + "ffn.lin2", hidden, wide)
        tensors += norm(prefix + "output_layer_norm")
    return tensors + linear("vocab_transform", hidden, hidden) + norm("vocab_layer_norm") + [("vocab_projector.bias", (vocabulary,), "zeros")]


def static_tensors(vocabulary):
    return [("embeddings", (vocabulary, hidden), "random")]


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
    if is_wide_roberta:
        kind = {"architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "layer_norm_eps": 1e-05, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    if shape == "m3-rerank":
        kind.update(architectures=["XLMRobertaForSequenceClassification"], id2label={"0": "LABEL_0"})
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


def nomic_config(vocabulary):
    return {
        "architectures": ["NomicBertModel"],
        "model_type": "nomic_bert",
        "n_embd": hidden,
        "n_layer": layers,
        "n_head": heads,
        "n_inner": wide,
        "n_positions": positions,
        "type_vocab_size": types,
        "layer_norm_epsilon": 1e-12,
        "activation_function": "swiglu",
        "rotary_emb_base": 1000.0,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "qkv_proj_bias": False,
        "mlp_fc1_bias": False,
        "mlp_fc2_bias": False,
        "prenorm": False,
        "pad_token_id": 0,
    }


def distilbert_config(vocabulary):
    sizes = {"dim": hidden, "n_layers": layers, "n_heads": heads, "hidden_dim": wide}
    return dict(sizes, architectures=["DistilBertForMaskedLM"], model_type="distilbert", activation="gelu", sinusoidal_pos_embds=False, pad_token_id=0)


def static_config(vocabulary):
    return {"architectures": ["StaticModel"], "model_type": "model2vec", "hidden_dim": hidden, "seq_length": 1000000, "normalize": True}


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
    config = os.path.join(out, "tokenizer_config.json")
    if os.path.exists(config) and positions > 512:  # the length of FROM's model
        dump(dict(json.load(open(config)), model_max_length=min(positions, 8192)), "tokenizer_config.json")


def answers():
    """ids of "yes" and "no" in the tokenizer's vocabulary"""
    pieces = json.load(open(os.path.join(out, "tokenizer.json")))["model"]["vocab"]
    return {"true_token_id": pieces["yes"], "false_token_id": pieces["no"]}


def module(number, name, config=None, tensors=None):
    """A folder of modules.json with its configuration and weights; its entry there."""
    path = "%d_%s" % (number, name)
    os.makedirs(os.path.join(out, path), exist_ok=True)
    if config is not None:
        dump(config, path, "config.json")
    if tensors is not None:
        write_weights(os.path.join(out, path, "model.safetensors"), tensors)
    return path, MODULES[name]


def write_modules(*modules):
    entries = [("", MODULES["Transformer"])] + list(modules)
    dump([{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers." + kind} for i, (path, kind) in enumerate(entries)], "modules.json")


def write_decoder():
    """What sentence-transformers keeps beside a Qwen3 reranker's weights: that its score is a difference of two logits."""
    dump({"tokenizer_class": "Qwen2Tokenizer", "model_max_length": 131072, "add_bos_token": False}, "tokenizer_config.json")
    if shape == "qwen3-embed-0.6b":
        write_modules(module(1, "Pooling", {"embedding_dimension": hidden, "pooling_mode": "lasttoken", "include_prompt": True}), module(2, "Normalize"))
        return
    dump({"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Sigmoid"}, "config_sentence_transformers.json")
    write_modules(module(1, "LogitScore", answers()))


def dense(number, n_out, activation, bias, to):
    config = {"in_features": hidden, "out_features": n_out, "bias": bias, "activation_function": "torch.nn.modules." + activation,
              "module_input_name": "sentence_embedding", "module_output_name": to}
    return module(number, "Dense", config, linear("linear", n_out, hidden, bias))


def write_reranker():
    """The modules of an ettin-reranker."""
    dump({"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Sigmoid"}, "config_sentence_transformers.json")
    write_modules(module(1, "Pooling", {"embedding_dimension": hidden, "pooling_mode": "cls", "include_prompt": True}),
                  dense(2, hidden, "activation.GELU", False, "sentence_embedding"),
                  module(3, "LayerNorm", {"dimension": hidden}, norm("norm")),
                  dense(4, 1, "linear.Identity", True, "scores"))


def write_sparse(vocabulary):
    write_modules(module(1, "SpladePooling", {"pooling_strategy": "max", "activation_function": "relu", "embedding_dimension": vocabulary}))


def write_encoder():
    if shape == "m3":
        write_weights(os.path.join(out, "sparse_linear.safetensors"), linear("sparse_linear", 1, hidden))
        write_weights(os.path.join(out, "colbert_linear.safetensors"), linear("colbert_linear", hidden, hidden))
    dump({"max_seq_length": min(positions, 8192), "do_lower_case": False}, "sentence_bert_config.json")
    write_modules(module(1, "Pooling", {"word_embedding_dimension": hidden, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}),
                  module(2, "Normalize"))


MODULES = {
    "Transformer": "models.Transformer",
    "Pooling": "models.Pooling",
    "Normalize": "models.Normalize",
    "LogitScore": "cross_encoder.modules.logit_score.LogitScore",
    "Dense": "base.modules.dense.Dense",
    "LayerNorm": "sentence_transformer.modules.layer_norm.LayerNorm",
    "SpladePooling": "sparse_encoder.models.SpladePooling",
}
TENSORS = {"modernbert": modernbert_tensors, "nomic": nomic_tensors, "distilbert": distilbert_tensors, "static": static_tensors, "qwen3": qwen3_tensors}
CONFIGS = {"modernbert": modernbert_config, "nomic": nomic_config, "distilbert": distilbert_config, "static": static_config, "qwen3": qwen3_config}

os.makedirs(out, exist_ok=True)
copy_tokenizer()
vocabulary = vocabulary_size()
config = CONFIGS.get(family, bert_config)(vocabulary)
if family != "static":
    config.update(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, vocab_size=vocabulary, max_position_embeddings=positions)
write_weights(os.path.join(out, "model.safetensors"), TENSORS.get(family, bert_tensors)(vocabulary))
dump(config, "config.json")
if family == "qwen3":
    write_decoder()
elif shape == "ettin-17m":
    write_reranker()
elif shape == "sparse":
    write_sparse(vocabulary)
elif shape not in ("static", "m3-rerank"):
    write_encoder()
