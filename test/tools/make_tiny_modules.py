#!/usr/bin/env python3
"""Makes tiny models of several modules for test/data/tiny: random weights, results by sentence-transformers in fp32.

    make_tiny_modules.py DEST [NAME...]

Needs transformers 5, torch 2 and sentence-transformers 6, which also save the files: a published model
of each kind has the same ones. Weights are rounded to float16, which is what the files hold, before
anything is computed. Tokenizers and texts are those beside this script in test/data.

Rerankers: lines {"query", "doc", "ids", "type_ids", "n", "logit", "score", "i"}, where the score is what
CrossEncoder.predict gives (with apply_softmax for several labels, of "label") and the logit its log
odds. Embedders: lines {"i", "text", "ids", "n"} and embeddings.npy, as SentenceTransformer.encode gives
them, then divided by their norms.
"""

import json
import os
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, Pooling, Transformer
from transformers import BertConfig, BertForSequenceClassification, BertModel, ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast

from make_tiny_rerankers import WORDPIECE, pairs, randomize

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}

MODERN = ModernBertConfig(**dict(SIZES, vocab_size=800, max_position_embeddings=256, local_attention=32, pad_token_id=0, bos_token_id=2,
                                 cls_token_id=2, eos_token_id=3, sep_token_id=3))
BERT = BertConfig(vocab_size=800, max_position_embeddings=160, pad_token_id=0, **SIZES)
IDENTITY = torch.nn.Identity()


def ettin(transformer):
    """As the ettin-reranker family is saved."""
    return [transformer, Pooling(32, "cls"), Dense(32, 32, bias=False, activation_function=torch.nn.GELU()), LayerNorm(32),
            Dense(32, 1, activation_function=IDENTITY, module_output_name="scores")]


def two_scores(transformer):
    """What else a modular CrossEncoder may be: a norm first, several poolings, two scores."""
    return [transformer, Pooling(32, ("mean", "max")), LayerNorm(64), Dense(64, 24, activation_function=torch.nn.Tanh()), Normalize(),
            Dense(24, 2, bias=False, activation_function=IDENTITY, module_output_name="scores")]


def ance(transformer):
    """As msmarco-roberta-base-ance-firstp is saved."""
    return [transformer, Pooling(32, "cls"), Dense(32, 32, activation_function=IDENTITY), LayerNorm(32)]


def poolings(transformer):
    return [transformer, Pooling(32, ("weightedmean", "cls", "max", "lasttoken", "mean", "mean_sqrt_len_tokens")), Normalize()]


LABELS = {"id2label": {0: "contradiction", 1: "Entailment", 2: "neutral"}, "label2id": {"contradiction": 0, "Entailment": 1, "neutral": 2}}
BERT_LABELS = BertConfig(vocab_size=800, max_position_embeddings=160, pad_token_id=0, **SIZES, **LABELS)

# name: class of the transformer, configuration, tokenizer, longest text, modules (None: the class has the head), label
MODELS = {
    "modernbert-rerank-modules": (ModernBertModel, MODERN, WORDPIECE, 200, ettin, 0),
    "bert-rerank-modules": (BertModel, BERT, WORDPIECE, 160, two_scores, 1),
    "bert-rerank-labels": (BertForSequenceClassification, BERT_LABELS, WORDPIECE, 160, None, 1),
    "bert-layer-norm": (BertModel, BERT, WORDPIECE, 160, ance, None),
    "bert-poolings": (BertModel, BERT, WORDPIECE, 160, poolings, None),
}


def base(folder, name):
    """A directory with the transformer and its tokenizer, as transformers saves them."""
    kind, config, tokenizer, longest, _, _ = MODELS[name]
    model = kind(config).eval()
    randomize(model, 100 + list(MODELS).index(name))
    model.save_pretrained(folder)
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if kind in (BertModel, BertForSequenceClassification) else [])
    tok = PreTrainedTokenizerFast(tokenizer_file=tokenizer, model_max_length=longest, model_input_names=names, **special)
    tok.save_pretrained(folder)
    return folder


def weights_to_half(folder):
    for root, _, files in os.walk(folder):
        for file in files:
            if file.endswith(".safetensors"):
                path = os.path.join(root, file)
                tensors = load_file(path)
                save_file({k: v.half() for k, v in tensors.items()}, path, metadata={"format": "pt"})


def build(name, folder):
    """Saved by sentence-transformers, weights in float16; read again in fp32."""
    _, _, _, longest, modules, label = MODELS[name]
    with tempfile.TemporaryDirectory() as source:
        base(source, name)
        if modules is None:
            model = CrossEncoder(source, max_length=longest, model_kwargs={"attn_implementation": "eager"})
        else:
            parts = modules(Transformer(source, max_seq_length=longest, model_kwargs={"attn_implementation": "eager"}))
            for i, part in enumerate(parts[1:]):
                randomize(part, 1000 + i + 10 * list(MODELS).index(name))
            model = CrossEncoder(modules=parts) if label is not None else SentenceTransformer(modules=parts)
        model.save_pretrained(folder, create_model_card=False)
    weights_to_half(folder)
    shutil.copy(MODELS[name][2], os.path.join(folder, "tokenizer.json"))  # the same on one line
    kwargs = {"model_kwargs": {"attn_implementation": "eager", "dtype": torch.float32}, "device": "cpu"}
    model = CrossEncoder(folder, **kwargs) if label is not None else SentenceTransformer(folder, **kwargs)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    return model


def score_pairs(model, name, tok):
    _, _, _, longest, _, label = MODELS[name]
    lines = []
    for i, (query, doc) in enumerate(pairs(longest)):
        encoding = {k: v[0] for k, v in tok([(query, doc)], truncation="longest_first", max_length=longest, return_token_type_ids=True).items()}
        assert model.preprocess([(query, doc)])["input_ids"][0].tolist() == encoding["input_ids"]
        logits = model.predict([(query, doc)], activation_fn=IDENTITY, convert_to_numpy=True)[0]
        logits = np.atleast_1d(logits).astype(np.float64)
        others = np.delete(logits, label)
        logit = logits[label] - (np.log(np.exp(others - others.max()).sum()) + others.max() if len(others) > 0 else 0)
        if len(logits) > 1:
            score = model.predict([(query, doc)], activation_fn=IDENTITY, apply_softmax=True)[0][label]
        else:
            score = model.predict([(query, doc)], activation_fn=torch.nn.Sigmoid())[0]
        lines.append({"query": query, "doc": doc, "ids": encoding["input_ids"], "type_ids": encoding["token_type_ids"],
                      "n": len(encoding["input_ids"]), "logit": float(logit), "score": float(score), "i": i})
    print("%s: logits %.3f .. %.3f" % (name, min(x["logit"] for x in lines), max(x["logit"] for x in lines)))
    return lines


def embed_texts(model, name, tok, dest):
    _, _, _, longest, _, _ = MODELS[name]
    texts = [t for pair in pairs(longest) for t in pair if t != ""][:14] + [""]
    vectors = model.encode(texts, batch_size=1, normalize_embeddings=True)
    np.save(os.path.join(dest, "embeddings.npy"), vectors.astype(np.float32))
    lines = []
    for i, text in enumerate(texts):
        ids = tok(text, truncation=True, max_length=longest)["input_ids"]
        lines.append({"i": i, "text": text, "ids": ids, "n": len(ids)})
    print("%s: %d x %d" % ((name,) + vectors.shape))
    return lines


def make(dest, name):
    dest = os.path.join(dest, name)
    folder = os.path.join(dest, "model")
    shutil.rmtree(dest, ignore_errors=True)
    os.makedirs(folder)
    model = build(name, folder)
    tok = model.tokenizer
    lines = score_pairs(model, name, tok) if MODELS[name][5] is not None else embed_texts(model, name, tok, dest)
    with open(os.path.join(dest, "inputs.jsonl"), "w", encoding="utf-8") as f:
        for x in lines:
            f.write(json.dumps(x, separators=(",", ":")) + "\n")


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for name in sys.argv[2:] or MODELS:
        make(sys.argv[1], name)


if __name__ == "__main__":
    main()
