#!/usr/bin/env python3
"""Trains a small SentencePiece model of type BPE with Gemma's settings: tokenizer.model of test/data/tokenizer/gemma.

    python3 test/tools/make_spm.py test/data/tokenizer/gemma/tokenizer.model

As Gemma's it has <pad> <eos> <bos> <unk> <mask>, runs of line ends and of spaces and tags as user-defined symbols,
bytes for other characters, no normalization, and no U+2581 before a text. It is trained on the texts for calibration
in src/convert, and on made-up words, so that pieces of one letter merge in several ways. Needs sentencepiece 0.2.3.
"""
import ast
import io
import os
import random
import re
import sys

import sentencepiece

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "..", "..", "src", "convert", "calibration_text.c")
SYMBOLS = ["<mask>", *("\n" * n for n in range(1, 6)), *("\u2581" * n for n in range(2, 8)), "<table>", "<h1>", "</h1>",
           "<start_of_turn>", "<end_of_turn>"]


def texts():
    with open(SOURCE, encoding="ascii") as f:
        lines = re.findall(r'^\t("(?:[^"\\]|\\.|"")*"),?$', f.read(), re.M)
    # C joins neighbouring strings
    found = [ast.literal_eval("b" + re.sub(r'(?<=.)""(?=.)', "", line)).decode("utf-8") for line in lines]
    r = random.Random(3)
    runs = ["".join(r.choice("zzq") for _ in range(r.randint(2, 24))) for _ in range(60)]
    lines = [line for text in found for line in text.split("\n")]
    # characters of most scripts stay without a piece
    return lines + [line for line in lines if line.isascii()] * 6 + runs


def train(path, size=480, **settings):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts()), model_writer=model, model_type="bpe", vocab_size=size, minloglevel=2, num_threads=1,
        **{"byte_fallback": True, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "pad_piece": "<pad>", "eos_piece": "<eos>",
           "bos_piece": "<bos>", "unk_piece": "<unk>", "add_dummy_prefix": False, "remove_extra_whitespaces": False,
           "normalization_rule_name": "identity", "split_digits": True, "allow_whitespace_only_pieces": True,
           "character_coverage": 0.98, "user_defined_symbols": SYMBOLS, **settings})
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "wb") as f:
        f.write(model.getvalue())


if __name__ == "__main__":
    train(sys.argv[1])
