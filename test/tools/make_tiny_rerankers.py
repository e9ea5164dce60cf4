#!/usr/bin/env python3
"""Makes the tiny rerankers of test/data/tiny: random weights, logits by transformers in fp32.

    make_tiny_rerankers.py DEST [NAME...]

Needs transformers 5.23.0, torch 2.15.0 and tokenizers 0.23.3. Weights are rounded to float16, which
is what the files hold, before the logits are computed (CPU, eager attention). Tokenizers and texts are
those beside this script in test/data. The files have the names that the hub's have, where transformers
saves others.
"""

import json
import os
import shutil
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (DebertaV2Config, DebertaV2ForSequenceClassification, DistilBertConfig, DistilBertForSequenceClassification, ElectraConfig, ElectraForSequenceClassification,
                          ErnieConfig, ErnieForSequenceClassification, EuroBertConfig, EuroBertForSequenceClassification, GteConfig, GteForSequenceClassification,
                          ModernBertConfig, ModernBertForSequenceClassification, MPNetConfig, MPNetForSequenceClassification,
                          NomicBertConfig, NomicBertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification)

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
WORDPIECE = os.path.join(DATA, "tokenizer", "cls.json")
UNIGRAM = os.path.join(DATA, "tokenizer", "unigram.json")
BYTE_LEVEL = os.path.join(DATA, "tokenizer", "bpe.json")

LABELS = {"id2label": {0: "LABEL_0"}, "label2id": {"LABEL_0": 0}}
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}


def gte_of_the_hub(config):
    """As the code on the hub wrote it, before transformers knew the family."""
    rope = config.pop("rope_parameters")
    config.update(model_type="new", architectures=["NewForSequenceClassification"], position_embedding_type="rope",
                  rope_theta=rope["rope_theta"], rope_scaling=None, layer_norm_type="layer_norm", pack_qkv=True,
                  logn_attention_scale=False, logn_attention_clip1=False, unpad_inputs=False)


def nomic_of_the_hub(config):
    for ours, theirs in (("hidden_size", "n_embd"), ("num_hidden_layers", "n_layer"), ("num_attention_heads", "n_head"),
                         ("intermediate_size", "n_inner"), ("max_position_embeddings", "n_positions"),
                         ("layer_norm_eps", "layer_norm_epsilon")):
        config[theirs] = config.pop(ours)
    base = config.pop("rope_parameters")["rope_theta"]
    config.pop("hidden_act")
    config.pop("head_dim")
    config.update(activation_function="swiglu", prenorm=False, parallel_block=False, use_rms_norm=False, causal=False,
                  rotary_emb_base=base, rotary_emb_fraction=1.0, rotary_emb_interleaved=False, rotary_emb_scale_base=None,
                  qkv_proj_bias=False, mlp_fc1_bias=False, mlp_fc2_bias=False)


def modern_of_the_hub(config):
    ropes = config.pop("rope_parameters")
    config.pop("layer_types")
    config.update(global_attn_every_n_layers=3, global_rope_theta=ropes["full_attention"]["rope_theta"],
                  local_rope_theta=ropes["sliding_attention"]["rope_theta"], position_embedding_type="absolute")


MODERN = dict(SIZES, num_hidden_layers=5, vocab_size=800, max_position_embeddings=1024, local_attention=32, pad_token_id=0,
              bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3)

# name: class, configuration, tokenizer, longest pair, prefix to rename (from, to), configuration as on the hub
MODELS = {
    "distilbert-rerank": (DistilBertForSequenceClassification,
                          DistilBertConfig(vocab_size=800, dim=32, n_layers=3, n_heads=2, hidden_dim=48, pad_token_id=0,
                                           **LABELS), WORDPIECE, 512, None, None),
    "mpnet-rerank": (MPNetForSequenceClassification,
                     MPNetConfig(vocab_size=302, max_position_embeddings=514, pad_token_id=1, bos_token_id=0, eos_token_id=2,
                                 **SIZES, **LABELS), UNIGRAM, 512, None, None),
    "nomic-rerank": (NomicBertForSequenceClassification,
                     NomicBertConfig(vocab_size=800, max_position_embeddings=1024, pad_token_id=0, **SIZES, **LABELS),
                     WORDPIECE, 600, ("nomic_bert.", "bert."), nomic_of_the_hub),
    "gte-rerank": (GteForSequenceClassification,
                   GteConfig(vocab_size=302, max_position_embeddings=1024, pad_token_id=1, **SIZES, **LABELS),
                   UNIGRAM, 600, ("gte.", "new."), gte_of_the_hub),
    "modernbert-rerank": (ModernBertForSequenceClassification,
                          ModernBertConfig(classifier_pooling="mean", **MODERN, **LABELS), WORDPIECE, 700, None,
                          modern_of_the_hub),
    "modernbert-rerank-cls": (ModernBertForSequenceClassification,
                              ModernBertConfig(classifier_pooling="cls", classifier_bias=True, classifier_activation="relu",
                                               **MODERN, **LABELS), WORDPIECE, 300, None, None),
    "deberta-rerank": (DebertaV2ForSequenceClassification,
                       DebertaV2Config(vocab_size=302, max_position_embeddings=512, type_vocab_size=0, pad_token_id=1, relative_attention=True,
                                       position_buckets=32, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p",
                                       position_biased_input=False, pooler_hidden_act="gelu", **SIZES, **LABELS),
                       UNIGRAM, 400, None, None),
    "roberta-rerank": (RobertaForSequenceClassification,
                       RobertaConfig(vocab_size=1101, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1, bos_token_id=0,
                                     eos_token_id=2, **SIZES, **LABELS), BYTE_LEVEL, 512, None, None),
    "electra-rerank": (ElectraForSequenceClassification,
                       ElectraConfig(vocab_size=800, embedding_size=32, pad_token_id=0, **SIZES, **LABELS), WORDPIECE, 512, None, None),
    "ernie-rerank": (ErnieForSequenceClassification,
                     ErnieConfig(vocab_size=800, use_task_id=True, pad_token_id=0, **SIZES, **LABELS), WORDPIECE, 512, None, None),
    "eurobert-rerank": (EuroBertForSequenceClassification,
                        EuroBertConfig(vocab_size=1101, num_key_value_heads=1, max_position_embeddings=1024, classifier_pooling="mean",
                                       pad_token_id=1, bos_token_id=0, eos_token_id=2, **SIZES, **LABELS), BYTE_LEVEL, 600, None, None),
}


def randomize(model, seed):
    """Weights of a size at which layers, biases and norms all matter."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name == "classifier.weight" or name == "classifier.out_proj.weight":
            scale = 0.3
        elif parameter.dim() > 1:
            scale = 1.0 if "embeddings" in name else 0.15
        else:
            scale = 0.1
        values = torch.randn(parameter.shape, generator=generator) * scale
        if parameter.dim() == 1 and name.endswith("weight"):
            values += 1
        parameter.data = values.half().float()


def pairs(longest):
    """Queries and documents of every length, ideographs among them."""
    with open(os.path.join(DATA, "tiny", "bert-rerank", "inputs.jsonl"), encoding="utf-8") as f:
        known = [json.loads(line) for line in f]
    short = [(x["query"], x["doc"]) for x in known if x["n"] < 120][:7]
    documents = " ".join(x["doc"] for x in known)
    return short + [("", ""), ("", "one"), (short[0][0], documents[:500]), (short[1][0], documents[500:1400]),
                    (short[2][0], documents * (1 + 8 * longest // len(documents)))]


def reference(model, x, kind):
    if kind == torch.float64:
        model = model.double()
    with torch.no_grad():
        kwargs = {"token_type_ids": torch.tensor([x["type_ids"]])} if (getattr(model.config, "type_vocab_size", 1) or 0) > 1 else {}
        out = model(input_ids=torch.tensor([x["ids"]]), attention_mask=torch.ones(1, x["n"], dtype=torch.long), **kwargs)
    return float(out.logits[0, 0])


def save(model, name, folder, prefix, of_the_hub):
    model.half().save_pretrained(folder)
    file = os.path.join(folder, "model.safetensors")
    tensors = load_file(file)
    if prefix is not None:
        tensors = {prefix[1] + k[len(prefix[0]):] if k.startswith(prefix[0]) else k: v for k, v in tensors.items()}
    save_file(tensors, file, metadata={"format": "pt"})
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    if of_the_hub is not None:
        of_the_hub(config)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)
        f.write("\n")
    print("%s: %s" % (name, ", ".join(sorted(k for k in tensors if "layer" not in k))))


def make(dest, name):
    kind, config, tokenizer, longest, prefix, of_the_hub = MODELS[name]
    folder = os.path.join(dest, name, "model")
    config._attn_implementation = "eager"
    model = kind(config).eval()
    randomize(model, 1 + list(MODELS).index(name))
    os.makedirs(folder, exist_ok=True)
    tok = Tokenizer.from_file(tokenizer)
    tok.no_padding()
    tok.enable_truncation(longest, strategy="longest_first")
    lines = []
    for i, (query, doc) in enumerate(pairs(longest)):
        encoding = tok.encode(query, doc)
        x = {"query": query, "doc": doc, "ids": encoding.ids, "type_ids": encoding.type_ids, "n": len(encoding.ids)}
        x["logit"] = reference(model, x, torch.float32)
        x["score"] = float(torch.sigmoid(torch.tensor(x["logit"], dtype=torch.float64)))
        x["i"] = i
        lines.append(x)
    noise = max(abs(reference(model, x, torch.float64) - x["logit"]) for x in lines)
    save(model, name, folder, prefix, of_the_hub)
    print("  logits %.3f .. %.3f, noise %.1e" % (min(x["logit"] for x in lines), max(x["logit"] for x in lines), noise))
    shutil.copy(tokenizer, os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        f.write('{"model_max_length": %d}\n' % longest)
    with open(os.path.join(dest, name, "inputs.jsonl"), "w", encoding="utf-8") as f:
        for x in lines:
            f.write(json.dumps(x, separators=(",", ":")) + "\n")


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for name in sys.argv[2:] or MODELS:
        make(sys.argv[1], name)


if __name__ == "__main__":
    main()
