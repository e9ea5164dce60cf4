#!/usr/bin/env python3
"""Makes the tiny learned sparse models of test/data/tiny: random weights, results by sentence-transformers in fp32.

    make_tiny_sparse.py DEST [NAME...]

Needs sentence-transformers 6.2.0, transformers 5.23.0, torch 2.15.0. Weights are rounded to float16, which is what
the files hold, before anything is computed (CPU). Tokenizers and texts are those beside this script in test/data.
SparseEncoder saves the files; splade-bert gets the class names that versions before 6 wrote, splade-router the
directories that OpenSearch's models have. inputs.jsonl has {"i", "text", "ids", "n", "sparse", "query"}:
weights by token id of encode_document and encode_query.
"""

import json
import os
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
from transformers import (BertConfig, BertForMaskedLM, DistilBertConfig, DistilBertForMaskedLM, ModernBertConfig,
                          ModernBertForMaskedLM, PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM)

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
WORDPIECE = os.path.join(DATA, "tokenizer", "cls.json")
BYTE_LEVEL = os.path.join(DATA, "tokenizer", "bpe.json")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
BERT_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
ROBERTA_TOKENS = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>", "bos_token": "<s>",
                  "eos_token": "</s>", "mask_token": "<mask>"}

# name: class, configuration, tokenizer, special tokens, activation, max_active_dims, prompts
MODELS = {
    "splade-bert": (BertForMaskedLM, BertConfig(vocab_size=800, max_position_embeddings=128, pad_token_id=0, **SIZES),
                    WORDPIECE, BERT_TOKENS, "relu", None, {"query": "find: ", "document": ""}),
    "splade-router": (DistilBertForMaskedLM,
                      DistilBertConfig(vocab_size=800, dim=32, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=128,
                                       pad_token_id=0), WORDPIECE, BERT_TOKENS, "log1p_relu", None, None),
    "splade-roberta": (RobertaForMaskedLM,
                       RobertaConfig(vocab_size=1101, max_position_embeddings=130, type_vocab_size=1, pad_token_id=1,
                                     bos_token_id=0, eos_token_id=2, hidden_act="gelu", **SIZES),
                       BYTE_LEVEL, ROBERTA_TOKENS, "relu", 12, None),
    "splade-modernbert": (ModernBertForMaskedLM,
                          ModernBertConfig(vocab_size=800, max_position_embeddings=128, local_attention=16, pad_token_id=0,
                                           bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3, **SIZES),
                          WORDPIECE, BERT_TOKENS, "relu", None, None),
}


def randomize(model, seed):
    """About one entry of twenty has a positive logit at a token."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        scale = 0.1 if parameter.dim() == 1 else 1.0 if "embeddings" in name else 0.15
        values = torch.randn(parameter.shape, generator=generator) * scale
        if parameter.dim() == 1 and name.endswith("weight"):
            values += 1
        if parameter.dim() == 1 and parameter.shape[0] == model.config.vocab_size:
            values -= 13.0
        parameter.data = values.half().float()
    model.tie_weights()


def texts():
    with open(os.path.join(DATA, "tiny", "bert-cls", "inputs.jsonl"), encoding="utf-8") as f:
        known = [json.loads(line)["text"] for line in f]
    short = sorted(known, key=len)
    return short[:9] + ["[MASK] and [SEP] in a text, unknown: \u4e00\ue000"] + [" ".join(known)[:420]]


def halve(folder):
    for root, _, files in os.walk(folder):
        for name in files:
            if name.endswith(".safetensors"):
                path = os.path.join(root, name)
                tensors = load_file(path)
                save_file({k: v.half() if "idf" not in root and "Static" not in root else v for k, v in tensors.items()}, path,
                          metadata={"format": "pt"})


def as_json(path, change):
    with open(path, encoding="utf-8") as f:
        value = json.load(f)
    change(value)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def older_names(modules):
    modules[0]["type"] = "sentence_transformers.sparse_encoder.models.MLMTransformer"
    modules[1]["type"] = "sentence_transformers.sparse_encoder.models.SpladePooling"


def make(dest, name, seed):
    cls, config, tokenizer_file, tokens, activation, max_active, prompts = MODELS[name]
    folder = os.path.join(dest, name)
    model_dir = os.path.join(folder, "model")
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    model = cls(config).eval()
    randomize(model, seed)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=tokenizer_file, model_max_length=128, **tokens)
    with tempfile.TemporaryDirectory() as base:
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
        transformer = Transformer(base, transformer_task="fill-mask", max_seq_length=128)
    pooling = SpladePooling(pooling_strategy="max", activation_function=activation)
    if name == "splade-router":
        generator = torch.Generator().manual_seed(seed + 1)
        weight = (torch.rand(config.vocab_size, generator=generator) * 9).half().float()
        weight[torch.rand(config.vocab_size, generator=generator) < 0.1] = 0
        static = SparseStaticEmbedding(tokenizer=tokenizer, weight=weight, frozen=True)
        encoder = SparseEncoder(modules=[Router.for_query_document(query_modules=[static], document_modules=[transformer, pooling])],
                                max_active_dims=max_active)
    else:
        encoder = SparseEncoder(modules=[transformer, pooling], max_active_dims=max_active, prompts=prompts)
    encoder.eval()
    rows = []
    for i, text in enumerate(texts()):
        document = encoder.encode_document(text, convert_to_tensor=True).to_dense()
        query = encoder.encode_query(text, convert_to_tensor=True).to_dense()
        ids = tokenizer(text, truncation=True, max_length=128)["input_ids"]
        rows.append({"i": i, "text": text, "ids": ids, "n": len(ids),
                     "sparse": {str(k): round(float(document[k]), 7) for k in document.nonzero().flatten().tolist()},
                     "query": {str(k): round(float(query[k]), 7) for k in query.nonzero().flatten().tolist()}})
    encoder.save_pretrained(model_dir, create_model_card=False)
    halve(model_dir)
    if name == "splade-bert":
        as_json(os.path.join(model_dir, "modules.json"), older_names)
    for root, _, files in os.walk(model_dir):
        for file in files:
            if file in ("README.md", "special_tokens_map.json"):
                os.remove(os.path.join(root, file))
            else:
                os.chmod(os.path.join(root, file), 0o644)
    with open(os.path.join(folder, "inputs.jsonl"), "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row) + "\n")
    print(name, [len(r["sparse"]) for r in rows], [len(r["query"]) for r in rows])


def main():
    names = sys.argv[2:] or list(MODELS)
    for name in names:
        make(sys.argv[1], name, 21 + list(MODELS).index(name))


if __name__ == "__main__":
    main()
