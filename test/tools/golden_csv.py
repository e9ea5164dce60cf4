#!/usr/bin/env python3
"""Reference texts, ids and vectors of the tiny models as CSV that COPY reads.

    python3 test/tools/golden_csv.py        (needs numpy; from the top of the tree)

Reads test/data/tiny/NAME/{inputs.jsonl,embeddings.npy}, writes
test/data/sql/NAME.csv with columns text, ids, embedding; of a reranker query,
doc, tokens, logit, score; of a decoder that reranks the instruction first. Of a model with BGE-M3's heads also NAME-tokens.csv:
text, sparse weights by id, number of token vectors, the first and the last; and
NAME-pairs.csv: query, doc, scores dense, sparse, multi-vector.
"""
import csv
import json
import pathlib

import numpy


def array_text(values):
    return "{%s}" % ",".join("%.9g" % x for x in values)


def write_tokens(folder, inputs):
    """NAME-tokens.csv and NAME-pairs.csv"""
    texts = {row["i"]: row["text"] for row in inputs}
    with open(ROOT / "sql" / (folder.name + "-tokens.csv"), "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for row in inputs:
            multi = numpy.load(folder / ("colbert_%d.npy" % row["i"]))
            writer.writerow([row["text"], json.dumps(row["sparse"]), len(multi), array_text(multi[0]), array_text(multi[-1])])
    with open(ROOT / "sql" / (folder.name + "-pairs.csv"), "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for pair in json.loads((folder / "pair_scores.json").read_text()):
            writer.writerow([texts[pair["q"]], texts[pair["d"]], pair["dense"], pair["sparse"], pair["colbert"]])


ROOT = pathlib.Path(__file__).resolve().parent.parent / "data"

for inputs in sorted((ROOT / "tiny").glob("*rerank*/inputs.jsonl")):
    with open(inputs, encoding="utf-8") as lines, \
            open(ROOT / "sql" / (inputs.parent.name + ".csv"), "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for line in lines:
            row = json.loads(line)
            logit = row["logit"] if "logit" in row else row["logit_yes"] - row["logit_no"]
            instruct = [row["instruct"]] if "instruct" in row else []
            writer.writerow(instruct + [row["query"], row["doc"], row["n"], "%.9g" % logit, "%.9g" % row["score"]])

for vectors_file in sorted((ROOT / "tiny").glob("*/embeddings.npy")):
    folder = vectors_file.parent
    vectors = numpy.load(folder / "embeddings.npy")
    with open(folder / "inputs.jsonl", encoding="utf-8") as lines:
        inputs = [json.loads(line) for line in lines]
    assert len(inputs) == len(vectors)
    if (folder / "pair_scores.json").exists():
        write_tokens(folder, inputs)
    with open(ROOT / "sql" / (folder.name + ".csv"), "w", encoding="utf-8", newline="") as out:
        # the empty text is quoted: unquoted it would be NULL
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for row, vector in zip(inputs, vectors):
            ids = "{%s}" % ",".join(map(str, row["ids"]))
            writer.writerow([row["text"], ids, array_text(vector)])
