"""random_model.py SHAPE FROM OUT: a BERT model directory of random weights (fp16), with the vocabulary of the directory FROM.

What a shape costs does not depend on what its weights are; vectors of such a model mean nothing."""
import json
import os
import shutil
import sys

import numpy as np
from safetensors.numpy import save_file

SHAPES = {"base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096)}  # hidden, layers, heads, intermediate
DEVIATION = 0.04

if len(sys.argv) != 4 or sys.argv[1] not in SHAPES:
    raise SystemExit(__doc__)
hidden, layers, heads, wide = SHAPES[sys.argv[1]]
source, out = sys.argv[2:]
vocabulary = json.load(open(os.path.join(source, "config.json")))["vocab_size"]
generator = np.random.default_rng(1)


def random(*shape):
    return (generator.standard_normal(shape, dtype=np.float32) * DEVIATION).astype(np.float16)


def norm(name):
    return {name + ".weight": np.ones(hidden, np.float16), name + ".bias": np.zeros(hidden, np.float16)}


def linear(name, n_out, n_in):
    return {name + ".weight": random(n_out, n_in), name + ".bias": random(n_out)}


def layer(prefix):
    weights = {}
    for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
        weights.update(linear(prefix + name, hidden, hidden))
    weights.update(linear(prefix + "intermediate.dense", wide, hidden))
    weights.update(linear(prefix + "output.dense", hidden, wide))
    weights.update(norm(prefix + "attention.output.LayerNorm"))
    weights.update(norm(prefix + "output.LayerNorm"))
    return weights


os.makedirs(os.path.join(out, "1_Pooling"), exist_ok=True)
weights = {
    "embeddings.word_embeddings.weight": random(vocabulary, hidden),
    "embeddings.position_embeddings.weight": random(512, hidden),
    "embeddings.token_type_embeddings.weight": random(2, hidden),
}
weights.update(norm("embeddings.LayerNorm"))
for i in range(layers):
    weights.update(layer("encoder.layer.%d." % i))
save_file(weights, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
config = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": hidden,
    "num_hidden_layers": layers,
    "num_attention_heads": heads,
    "intermediate_size": wide,
    "hidden_act": "gelu",
    "vocab_size": vocabulary,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
json.dump(config, open(os.path.join(out, "config.json"), "w"))
json.dump({"word_embedding_dimension": hidden, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, open(os.path.join(out, "1_Pooling", "config.json"), "w"))
json.dump({"max_seq_length": 512, "do_lower_case": True}, open(os.path.join(out, "sentence_bert_config.json"), "w"))
for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
    if os.path.exists(os.path.join(source, name)):
        shutil.copy(os.path.join(source, name), out)
modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize")]
json.dump(
    [{"idx": int(i), "name": i, "path": path, "type": "sentence_transformers.models." + kind} for i, path, kind in modules],
    open(os.path.join(out, "modules.json"), "w"),
)
