#!/usr/bin/env python3
"""Vectors of sentence-transformers 6 for models whose pooling leaves the prompt out.

    python3 test/tools/make_unpooled.py > test/data/unpooled.json

Copies of tiny models with "include_prompt": false, prompts and each pooling;
unit/test_prompts.c makes the same copies. Needs sentence-transformers 6.
"""
import json
import os
import shutil
import tempfile

from sentence_transformers import SentenceTransformer

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, "..", "data", "tiny")
PROMPTS = {"query": "Represent the question: ", "document": "passage"}
TEXTS = ["which package draws maps", "", "s of the library, and of others", "a\nb"]


def main():
    lines = []
    for name in ("bert-cls", "bert-mean-48"):
        for pooling in ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"):
            with tempfile.TemporaryDirectory() as copy:
                model_dir = os.path.join(copy, "model")
                shutil.copytree(os.path.join(TINY, name, "model"), model_dir)
                with open(os.path.join(model_dir, "1_Pooling", "config.json")) as f:
                    width = json.load(f)["word_embedding_dimension"]
                with open(os.path.join(model_dir, "1_Pooling", "config.json"), "w") as f:
                    json.dump({"word_embedding_dimension": width, "pooling_mode": pooling, "include_prompt": False}, f)
                with open(os.path.join(model_dir, "config_sentence_transformers.json"), "w") as f:
                    json.dump({"prompts": PROMPTS}, f)
                model = SentenceTransformer(model_dir, device="cpu")
                vectors = [[[round(float(x), 7) for x in v] for v in (model.encode_query([t])[0], model.encode_document([t])[0])] for t in TEXTS]
                lines.append({"model": name, "pooling": pooling, "vectors": vectors})
    print(json.dumps({"prompts": PROMPTS, "texts": TEXTS, "models": lines}))


if __name__ == "__main__":
    main()
