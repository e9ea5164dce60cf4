#!/usr/bin/env python3
"""Makes the tiny ColBERT models of test/data/tiny: random weights, token vectors by sentence-transformers in fp32.

    make_tiny_colbert.py DEST [NAME...]

Needs sentence-transformers 6.2.0, transformers 5.23.0, torch 2.15.0. Weights are rounded to float16, which is what
the files hold, before anything is computed (CPU). Tokenizers and texts are those beside this script in test/data.
The files have the layouts of published models: PyLate's of GTE-ModernColBERT (without "model_type") and of
mxbai-edge-colbert (several Dense, with residuals), sentence-transformers' MultiVectorEncoder, and the original
ColBERT's of answerai-colbert-small. MultiVectorEncoder reads all of them, and computes the results.
inputs.jsonl has {"i", "text", "ids", "document", "query_ids", "query"}: the ids that the model reads (those of a
query with its expansion), and the vectors of encode_document and encode_query.
"""

import json
import os
import shutil
import string
import sys

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from transformers import (BertConfig, BertModel, DistilBertConfig, DistilBertModel, ModernBertConfig, ModernBertModel,
                          PreTrainedTokenizerFast)

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
WORDPIECE = os.path.join(DATA, "tokenizer", "cls.json")
BYTE_LEVEL = os.path.join(DATA, "tokenizer", "bpe.json")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
BERT_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
ROBERTA_TOKENS = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>", "bos_token": "<s>",
                  "eos_token": "</s>", "mask_token": "<mask>"}
MODERN_IDS = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
IDENTITY = "torch.nn.modules.linear.Identity"
WORDS = list(string.punctuation)

# of each model: configuration, tokenizer, special tokens
MODELS = {
    "colbert-modernbert": (ModernBertConfig(vocab_size=802, max_position_embeddings=128, local_attention=8, **MODERN_IDS, **SIZES),
                           WORDPIECE, BERT_TOKENS),
    "colbert-bert": (BertConfig(vocab_size=802, max_position_embeddings=128, pad_token_id=0, **SIZES), WORDPIECE, BERT_TOKENS),
    "colbert-st": (DistilBertConfig(vocab_size=1101, dim=32, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=128,
                                    pad_token_id=1), BYTE_LEVEL, ROBERTA_TOKENS),
    "colbert-stanford": (BertConfig(vocab_size=800, max_position_embeddings=128, pad_token_id=0, **SIZES), WORDPIECE, BERT_TOKENS),
}

# PyLate's: the Dense modules (inputs, outputs, residual), what config_sentence_transformers.json says
PYLATE = {
    "colbert-modernbert": ([(32, 8, False)], {
        "query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 24, "document_length": 40,
        "attend_to_expansion_tokens": False, "skiplist_words": WORDS}),
    "colbert-bert": ([(32, 48, True), (48, 48, True), (48, 8, False)], {
        "model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 20, "document_length": 48,
        "attend_to_expansion_tokens": True, "skiplist_words": ["the", ",", ".", "no-such-word"], "do_query_expansion": True}),
}


def write(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        scale = 0.1 if parameter.dim() == 1 else 1.0 if "embeddings" in name else 0.15
        values = torch.randn(parameter.shape, generator=generator) * scale
        if parameter.dim() == 1 and name.endswith("weight"):
            values += 1
        parameter.data = values.half().float()
    return generator


def halves(folder):
    path = os.path.join(folder, "model.safetensors")
    save_file({k: v.half() for k, v in load_file(path).items()}, path, metadata={"format": "pt"})


def texts():
    with open(os.path.join(DATA, "tiny", "bert-cls", "inputs.jsonl"), encoding="utf-8") as f:
        known = [json.loads(line)["text"] for line in f]
    short = sorted(known, key=len)
    return short[:7] + ["  Hello, world!  The end. ", "[MASK] and [D] or [Q] in a text, [unused1] too: \u4e00", " ".join(known)[:300]]


def with_unused(tokenizer_file, path):
    """A copy of a tokenizer.json whose last two entries are the markers of the original ColBERT."""
    with open(tokenizer_file, encoding="utf-8") as f:
        value = json.load(f)
    vocab = value["model"]["vocab"]
    for i, piece in enumerate(sorted(vocab, key=vocab.get)[-2:]):
        vocab["[unused%d]" % i] = vocab.pop(piece)
    write(path, value)
    return path


def make_base(name, seed, model_dir):
    config, tokenizer_file, tokens = MODELS[name]
    if name == "colbert-stanford":
        tokenizer_file = with_unused(tokenizer_file, os.path.join(model_dir, "tokenizer.json"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=tokenizer_file, model_max_length=128, **tokens)
    cls = {"bert": BertModel, "modernbert": ModernBertModel, "distilbert": DistilBertModel}[config.model_type]
    torch.manual_seed(seed)
    model = cls(config).eval()
    generator = randomize(model, seed)
    model.save_pretrained(model_dir)
    return tokenizer, generator


def make_pylate(name, seed, model_dir):
    dense, own = PYLATE[name]
    tokenizer, generator = make_base(name, seed, model_dir)
    # as PyLate adds them: matched after normalization, which lowercases
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.save_pretrained(model_dir)
    halves(model_dir)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for i, (n_in, n_out, residual) in enumerate(dense):
        path = "%d_Dense" % (i + 1)
        folder = os.path.join(model_dir, path)
        os.makedirs(folder)
        modules.append({"idx": i + 1, "name": str(i + 1), "path": path, "type": "pylate.models.Dense.Dense"})
        config = {"in_features": n_in, "out_features": n_out, "bias": False, "activation_function": IDENTITY}
        if len(dense) > 1:
            config["use_residual"] = residual
        write(os.path.join(folder, "config.json"), config)
        tensors = {"linear.weight": (torch.randn((n_out, n_in), generator=generator) * 0.2).half()}
        if residual and n_in != n_out:
            tensors["residual.weight"] = (torch.randn((n_out, n_in), generator=generator) * 0.2).half()
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    write(os.path.join(model_dir, "modules.json"), modules)
    write(os.path.join(model_dir, "sentence_bert_config.json"), {"max_seq_length": own["document_length"] - 1, "do_lower_case": False})
    write(os.path.join(model_dir, "config_sentence_transformers.json"), {
        "__version__": {"sentence_transformers": "5.1.1", "transformers": "4.57.0", "pytorch": "2.8.0"},
        "prompts": {}, "default_prompt_name": None, "similarity_fn_name": "MaxSim", **own})


def make_st(name, seed, model_dir):
    """A prompt as the marker, expansion only of short queries, and punctuation skipped in queries, too."""
    base = os.path.join(model_dir, "base")
    tokenizer, generator = make_base(name, seed, base)
    tokenizer.save_pretrained(base)
    transformer = Transformer(base, query_length=30, document_length=44,
                              query_expansion={"strategy": "min", "attend": False, "length": 23})
    shutil.rmtree(base)
    weight = (torch.randn((8, 32), generator=generator) * 0.2).half().float()
    bias = (torch.randn(8, generator=generator) * 0.2).half().float()
    dense = Dense(32, 8, bias=True, activation_function=torch.nn.Identity(), init_weight=weight, init_bias=bias,
                  module_input_name="token_embeddings")
    mask = MultiVectorMask([",", "!", ".", "?"], skiplist_tasks=["query", "document"])
    model = MultiVectorEncoder(modules=[transformer, dense, mask, Normalize(module_input_name="token_embeddings")],
                               prompts={"query": "query: ", "document": "passage: "})
    model.save_pretrained(model_dir, create_model_card=False)
    halves(model_dir)
    halves(os.path.join(model_dir, "1_Dense"))


def make_stanford(name, seed, model_dir):
    """The names of tensors begin with "bert.", and the projection is one of them."""
    tokenizer, generator = make_base(name, seed, model_dir)
    tokenizer.save_pretrained(model_dir)
    path = os.path.join(model_dir, "model.safetensors")
    tensors = {"bert." + k: v.half() for k, v in load_file(path).items()}
    tensors["linear.weight"] = (torch.randn((8, 32), generator=generator) * 0.2).half()
    save_file(tensors, path, metadata={"format": "pt"})
    with open(os.path.join(model_dir, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    write(os.path.join(model_dir, "config.json"), {**config, "architectures": ["HF_ColBERT"]})
    write(os.path.join(model_dir, "artifact.metadata"), {
        "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_token": "[Q]", "doc_token": "[D]",
        "attend_to_mask_tokens": False, "mask_punctuation": True, "query_maxlen": 22, "doc_maxlen": 36, "dim": 8,
        "similarity": "cosine", "checkpoint": "bert-base-uncased"})


def ids_of(model, text, task):
    features = model.preprocess([text], prompt=model.prompts[task], task=task)
    return features["input_ids"][0].tolist()


def rounded(vectors):
    return [[round(float(x), 7) for x in row] for row in vectors]


def make(dest, name, seed):
    folder = os.path.join(dest, name)
    model_dir = os.path.join(folder, "model")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(model_dir)
    if name in PYLATE:
        make_pylate(name, seed, model_dir)
    elif name == "colbert-stanford":
        make_stanford(name, seed, model_dir)
    else:
        make_st(name, seed, model_dir)
    model = MultiVectorEncoder(model_dir, device="cpu").eval()
    rows = []
    for i, text in enumerate(texts()):
        rows.append({"i": i, "text": text, "ids": ids_of(model, text, "document"),
                     "document": rounded(model.encode_document(text)),
                     "query_ids": ids_of(model, text, "query"), "query": rounded(model.encode_query(text))})
    for root, _, files in os.walk(model_dir):
        for file in files:
            if file in ("README.md", "special_tokens_map.json"):
                os.remove(os.path.join(root, file))
            else:
                os.chmod(os.path.join(root, file), 0o644)
    with open(os.path.join(folder, "inputs.jsonl"), "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row) + "\n")
    print(name, [(len(r["ids"]), len(r["document"]), len(r["query_ids"]), len(r["query"])) for r in rows])


def main():
    names = sys.argv[2:] or list(MODELS)
    for name in names:
        make(sys.argv[1], name, 61 + list(MODELS).index(name))


if __name__ == "__main__":
    main()
