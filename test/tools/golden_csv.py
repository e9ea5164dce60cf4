#!/usr/bin/env python3
"""Reference texts, ids and vectors of the tiny models as CSV that COPY reads.

    python3 test/tools/golden_csv.py        (needs numpy; from the top of the tree)

Reads test/data/tiny/NAME/{inputs.jsonl,embeddings.npy}, writes
test/data/sql/NAME.csv with columns text, ids, embedding; of a reranker query,
doc, tokens, logit, score.
"""
import csv
import json
import pathlib

import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent / "data"

for inputs in sorted((ROOT / "tiny").glob("*rerank*/inputs.jsonl")):
    with open(inputs, encoding="utf-8") as lines, \
            open(ROOT / "sql" / (inputs.parent.name + ".csv"), "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for line in lines:
            row = json.loads(line)
            writer.writerow([row["query"], row["doc"], row["n"], "%.9g" % row["logit"], "%.9g" % row["score"]])

for vectors_file in sorted((ROOT / "tiny").glob("*/embeddings.npy")):
    folder = vectors_file.parent
    vectors = numpy.load(folder / "embeddings.npy")
    with open(folder / "inputs.jsonl", encoding="utf-8") as lines:
        inputs = [json.loads(line) for line in lines]
    assert len(inputs) == len(vectors)
    with open(ROOT / "sql" / (folder.name + ".csv"), "w", encoding="utf-8", newline="") as out:
        # the empty text is quoted: unquoted it would be NULL
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for row, vector in zip(inputs, vectors):
            ids = "{%s}" % ",".join(map(str, row["ids"]))
            values = "{%s}" % ",".join("%.9g" % x for x in vector)
            writer.writerow([row["text"], ids, values])
