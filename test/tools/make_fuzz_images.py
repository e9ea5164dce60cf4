#!/usr/bin/env python3
"""Makes the seeds of test/fuzz/corpus/fuzz_image: small images of every kind.

    test/tools/make_fuzz_images.py build/core/embed-cli [DIR]

Writes model directories of hidden size 8 with seeded weights, packs them with
embed-cli and puts the images into DIR (test/fuzz/corpus/fuzz_image). To be run
after every change of the image's layout: images of an older layout are refused
at their first bytes and reach nothing. Standard library only.
"""

import json
import os
import random
import struct
import subprocess
import sys
import tempfile

H, F, V, P, HEADS, LAYERS = 8, 20, 24, 16, 2, 2
VOCAB = ("[PAD] [UNK] [CLS] [SEP] [MASK] a b c d e query passage : ##a ##b ##c ##d search data ##base . , the of").split()

BERT_LAYER = [
    ("attention.self.query", H, H), ("attention.self.key", H, H), ("attention.self.value", H, H),
    ("attention.output.dense", H, H), ("attention.output.LayerNorm", 0, H),
    ("intermediate.dense", F, H), ("output.dense", H, F), ("output.LayerNorm", 0, H)]
BERT = [("embeddings.word_embeddings", V, H, "w"), ("embeddings.position_embeddings", P, H, "w"),
        ("embeddings.token_type_embeddings", 2, H, "w"), ("embeddings.LayerNorm", 0, H)]


def layers(prefix, parts):
    return [(prefix % i + part[0],) + part[1:] for i in range(LAYERS) for part in parts]


def sizes(**more):
    return dict(hidden_size=H, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=F,
                vocab_size=V, max_position_embeddings=P, **more)


MODERN = [("model.embeddings.tok_embeddings", V, H, "w"), ("model.embeddings.norm", 0, H, "w"), ("model.final_norm", 0, H, "w")] + \
    [t for t in layers("model.layers.%d.", [
        ("attn.Wqkv", 3 * H, H, "w"), ("attn.Wo", H, H, "w"), ("attn_norm", 0, H, "w"),
        ("mlp.Wi", 2 * F, H, "w"), ("mlp.Wo", H, F, "w"), ("mlp_norm", 0, H, "w")]) if t[0] != "model.layers.0.attn_norm"]
MODERN_CONFIG = sizes(model_type="modernbert", local_attention=4, global_attn_every_n_layers=2)
SCORE = {"id2label": {"0": "LABEL_0"}}

# Codes of 8 bits with scales by groups of 32 inputs: the FFN's second layer has two
GROUPS = (dict(sizes(model_type="bert"), intermediate_size=40, quantization_config={
    "quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"group_0": {"weights": {
        "num_bits": 8, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}}}}),
    BERT + layers("encoder.layer.%d.", [
        (name, rows and rows // F * 40 or rows, cols // F * 40 or cols) + (("qsb",) if rows else ())
        for name, rows, cols in BERT_LAYER]), {})

# name: (config.json, tensors, other files)
MODELS = {
    "small": (sizes(model_type="bert"), BERT + layers("encoder.layer.%d.", BERT_LAYER), {}),
    "rerank": (dict(sizes(model_type="bert"), architectures=["BertForSequenceClassification"], **SCORE),
               [("bert." + t[0],) + t[1:] for t in BERT + layers("encoder.layer.%d.", BERT_LAYER) + [("pooler.dense", H, H)]]
               + [("classifier", 1, H)], {}),
    "heads": (sizes(model_type="bert"), BERT + layers("encoder.layer.%d.", BERT_LAYER)
              + [("sparse_linear", 1, H), ("colbert_linear", 6, H)], {}),
    "dense": (sizes(model_type="bert"), BERT + layers("encoder.layer.%d.", BERT_LAYER), {
        "modules.json": [{"path": p, "type": "sentence_transformers.models." + c} for p, c in
                         (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize"),
                          ("4_Dense", "Dense"))],
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
        "2_Dense/config.json": {"in_features": H, "out_features": 18},
        "2_Dense/model.safetensors": [("linear", 18, H)],
        "4_Dense/config.json": {"in_features": 18, "out_features": 5, "bias": False,
                                "activation_function": "torch.nn.modules.linear.Identity"},
        "4_Dense/model.safetensors": [("linear", 5, 18, "w")]}),
    "mpnet": (sizes(model_type="mpnet"),
              [("embeddings.word_embeddings", V, H, "w"), ("embeddings.position_embeddings", P, H, "w"),
               ("embeddings.LayerNorm", 0, H), ("encoder.relative_attention_bias", 32, HEADS, "w")]
              + layers("encoder.layer.%d.", [
                  ("attention.attn.q", H, H), ("attention.attn.k", H, H), ("attention.attn.v", H, H), ("attention.attn.o", H, H),
                  ("attention.LayerNorm", 0, H)] + BERT_LAYER[5:]), {}),
    "gte-rerank": (dict(sizes(model_type="new", type_vocab_size=0), architectures=["NewForSequenceClassification"], **SCORE),
                   [("new." + t[0],) + t[1:] for t in [("embeddings.word_embeddings", V, H, "w"), ("embeddings.LayerNorm", 0, H)]
                    + layers("encoder.layer.%d.", [
                        ("attention.qkv_proj", 3 * H, H), ("attention.o_proj", H, H), ("attn_ln", 0, H),
                        ("mlp.up_gate_proj", 2 * F, H, "w"), ("mlp.down_proj", H, F), ("mlp_ln", 0, H)])
                    + [("pooler.dense", H, H)]] + [("classifier", 1, H)], {}),
    "modernbert": (MODERN_CONFIG, MODERN, {}),
    "modernbert-rerank": (dict(MODERN_CONFIG, architectures=["ModernBertForSequenceClassification"], **SCORE),
                          MODERN + [("head.dense", H, H, "w"), ("head.norm", 0, H, "w"), ("classifier", 1, H)], {}),
    "groups": GROUPS,
    "sparse": (dict(sizes(model_type="bert"), architectures=["BertForMaskedLM"]),
               [("bert." + t[0],) + t[1:] for t in BERT + layers("encoder.layer.%d.", BERT_LAYER)]
               + [("cls.predictions.transform.dense", H, H), ("cls.predictions.transform.LayerNorm", 0, H),
                  ("cls.predictions.decoder", V, H)], {
        "idf.json": {word: i / 8 for i, word in enumerate(VOCAB)}, "config_sentence_transformers.json": {"max_active_dims": 9}}),
    "colbert": (dict(MODERN_CONFIG, architectures=["ModernBertModel"]), MODERN, {
        "modules.json": [{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Dense", "type": "pylate.models.Dense.Dense"}],
        "1_Dense/config.json": {"in_features": H, "out_features": 5, "bias": False},
        "1_Dense/model.safetensors": [("linear", 5, H, "w")],
        "config_sentence_transformers.json": {"model_type": "ColBERT", "query_prefix": "query", "document_prefix": "passage", "query_length": 14,
                                              "skiplist_words": [".", ",", "the"]}}),
    "static": ({"model_type": "model2vec"}, [("embeddings", V, H, "")], {}),
}


def write_weights(path, tensors, rng):
    header, data = {}, b""
    for name, rows, cols, *which in tensors:
        for kind in which[0] if which and which[0] else ["w", "b"] if not which else [""]:
            if kind == "s":
                shape = [rows, (cols - 1) // 32 + 1]
            else:
                shape = [rows, cols] if rows and kind != "b" else [rows or cols]
            count = shape[0] * (shape[1] if len(shape) > 1 else 1)
            center = 1.0 if not rows and kind == "w" else 0.0
            values = [center + rng.randrange(-64, 64) / 128 for _ in range(count)]
            full = name + {"w": ".weight", "q": ".weight", "s": ".weight_scale", "b": ".bias", "": ""}[kind]
            if kind == "q":
                header[full] = {"dtype": "I8", "shape": shape, "data_offsets": [len(data), len(data) + count]}
                data += struct.pack("<%db" % count, *[int(v * 128) for v in values])
                continue
            if kind == "s":
                values = [(1.5 + v) / 128 for v in values]
            header[full] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * count]}
            data += struct.pack("<%df" % count, *values)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def write_model(directory, model):
    config, tensors, files = MODELS[model]
    rng = random.Random(model)
    files = dict({"config.json": config, "tokenizer_config.json": {"do_lower_case": True}}, **files)
    for name, content in files.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if name.endswith(".safetensors"):
            write_weights(path, content, rng)
        else:
            with open(path, "w") as f:
                json.dump(content, f)
    write_weights(os.path.join(directory, "model.safetensors"), tensors, rng)
    with open(os.path.join(directory, "vocab.txt"), "w") as f:
        f.write("\n".join(VOCAB) + "\n")


def pack(cli, model, precision):
    with tempfile.TemporaryDirectory() as directory:
        write_model(directory, model)
        return subprocess.run([cli, "pack", "--precision", precision, directory], check=True, stdout=subprocess.PIPE).stdout


def main():
    cli = sys.argv[1]
    out = sys.argv[2] if len(sys.argv) > 2 else "test/fuzz/corpus/fuzz_image"
    images = {"small-fp32": pack(cli, "small", "fp32")}
    for model in MODELS:
        images[model + "-int8"] = pack(cli, model, "int8")
    images["small-int4"] = pack(cli, "small", "int4")
    images["sparse-fp32"] = pack(cli, "sparse", "fp32")
    small = images["small-int8"]
    images["cut"] = small[:1000]
    # a weight that is not finite: the last float of the weights that is not zero
    at = max(i for i in range(0, len(images["small-fp32"]) * 3 // 4, 4) if images["small-fp32"][i:i + 4] != bytes(4))
    images["nan"] = images["small-fp32"][:at] + struct.pack("<f", float("nan")) + images["small-fp32"][at + 4:]
    for name, image in images.items():
        with open(os.path.join(out, name), "wb") as f:
            f.write(image)
        print("%-24s %d bytes" % (name, len(image)))


if __name__ == "__main__":
    main()
