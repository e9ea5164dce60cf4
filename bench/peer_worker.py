"""peer_worker.py ENGINE THREADS MODELS: a peer as a resident process that speaks worker.c's lines.

An engine's setting for a batch is the fastest of a few, tried before it is timed."""
import os
import sys

if len(sys.argv) != 4:
    raise SystemExit(__doc__)
engine_name, threads, models = sys.argv[1], int(sys.argv[2]), sys.argv[3]
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[variable] = str(threads)
os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a library prints is no answer

import json

import numpy as np
from tokenizers import Tokenizer

import peer_engines
from peer_engines import clock

STAND_FOR = 8  # documents of 128 tokens and more, given in small batches anyway, stand for a larger batch
TRY_SECONDS = 0.3
LONG_SECONDS = 10
LONG_TOKENS = 2048  # a document of this length warms up the documents after it


class Worker:
    def __init__(self):
        self.engine = peer_engines.make(engine_name, threads, models)
        self.tokenizer = Tokenizer.from_file(os.path.join(models, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(json.load(open(os.path.join(models, "limits.json")))["max_tokens"])
        self.docs, self.texts = [], False
        self.chosen = {}

    def embed(self, docs, setting):
        if self.texts:
            docs = [e.ids for e in self.tokenizer.encode_batch(docs)] if len(docs) > 1 else [self.tokenizer.encode(docs[0]).ids]
        if setting.get("all"):
            return self.engine.run(docs, setting)
        m = setting["micro"]
        return np.concatenate([self.engine.run(docs[i : i + m], setting) for i in range(0, len(docs), m)])

    def tried(self, setting, batch, tokens):
        """ms a document: the best of a few calls"""
        docs = self.docs[: batch if setting["micro"] > STAND_FOR or tokens < 64 else min(batch, STAND_FOR)]
        best, begin = 1e9, clock()
        self.embed(docs, setting)
        if clock() - begin > LONG_SECONDS:
            return (clock() - begin) / len(docs)
        begin = clock()
        for i in range(3):
            start = clock()
            self.embed(docs, setting)
            best = min(best, (clock() - start) / len(docs))
            if clock() - begin > TRY_SECONDS:
                break
        return best

    def setting(self, batch):
        """The fastest for this batch of documents of this length."""
        key = (batch, len(self.docs[0]))
        if key not in self.chosen:
            settings = self.engine.settings(*key)
            times = [(self.tried(s, *key), str(s), s) for s in settings] if len(settings) > 1 else [(0, "", settings[0])]
            self.chosen[key] = min(times)[2]
        return self.chosen[key]

    def bench(self, batch, seconds, at_least, at_most):
        setting = self.setting(batch)
        n = batch
        if setting["micro"] <= STAND_FOR and len(self.docs[0]) >= 128:
            n = min(batch, STAND_FOR)
        if len(self.docs[0]) < LONG_TOKENS:
            self.embed(self.docs[:n], setting)
        times, at, begin = [], 0, clock()
        while len(times) < at_most and (len(times) < at_least or clock() - begin < seconds):
            start = clock()
            self.embed(self.docs[at : at + n], setting)
            times.append((clock() - start) * 1e3 * batch / n)
            at = at + n if at + 2 * n <= len(self.docs) else 0
        return "ms " + " ".join("%.4f" % t for t in times)

    def one_pass(self, arrangement):
        """All documents once: one a call, or padded in batches after sorting by length, as sentence-transformers does."""
        docs, micro = self.docs, 1
        if arrangement != "one":
            docs, micro = sorted(docs, key=len, reverse=True), int(arrangement.removeprefix("sorted"))
        start = clock()
        for i in range(0, len(docs), micro):
            self.embed(docs[i : i + micro], {"micro": micro})
        return "ms %.4f" % ((clock() - start) * 1e3)

    def answer(self, command, rest):
        lines = lambda n: [sys.stdin.readline().rstrip("\n") for _ in range(n)]
        if command == "ids":
            self.docs, self.texts = [[int(x) for x in line.split()] for line in lines(int(rest[0]))], False
            return "ok"
        if command == "texts":
            self.docs, self.texts = lines(int(rest[0])), True
            return "ok"
        if command == "bench":
            return self.bench(int(rest[0]), float(rest[1]), int(rest[2]), int(rest[3]))
        if command == "pass":
            return self.one_pass(rest[0])
        if command == "setting":
            return "setting " + json.dumps(self.chosen.get((int(rest[0]), len(self.docs[0]))))
        if command == "vectors":
            rows = [self.embed([doc], {"micro": 1})[0] for doc in self.docs]
            return "\n".join(" ".join("%.9g" % x for x in row) for row in rows)
        return None

    def serve(self):
        print("ready " + self.engine.version, file=answer, flush=True)
        for line in sys.stdin:
            command, *rest = line.split()
            reply = self.answer(command, rest)
            if reply is None:
                break
            print(reply, file=answer, flush=True)


Worker().serve()
os._exit(0)  # some libraries' exit handlers hang
