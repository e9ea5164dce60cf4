"""compare.py: embed beside its peers, in one run; see bench/README.md. Started by bench/run.

Every engine is a resident process pinned to the same CPUs, asked in turn (A B C A B C ...), so that a noisy neighbour hits all
alike. Figures are medians over all rounds; the spread of a ratio is that of the rounds' own ratios."""
import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time

from corpus import Corpus

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = ("embed-int8", "embed-fp32", "embed-sql")
AGREE = 0.99  # a mean cosine to fp32 below this is another model, not another precision


class Worker:
    """An engine that speaks worker.c's lines."""

    def __init__(self, name, command, cpus):
        self.name = name
        self.log = open(os.path.join(args.work, name + ".log"), "w+")
        self.process = subprocess.Popen(["taskset", "-c", cpus] + command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1)
        self.version = self.line().split(" ", 1)[1]

    def line(self):
        line = self.process.stdout.readline().strip()
        if not line or line.startswith("error"):
            self.log.seek(0)
            raise RuntimeError("%s: %s %s" % (self.name, line, self.log.read()[-400:]))
        return line

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def documents(self, docs):
        self.say("\n".join(["ids %d" % len(docs)] + [" ".join(map(str, ids)) for _, ids in docs]))
        self.line()

    def bench(self, batch, seconds, at_least=1, at_most=400):
        self.say("bench %d %g %d %d" % (batch, seconds, at_least, at_most))
        return [float(x) for x in self.line().split()[1:]]

    def vectors(self, n):
        self.say("vectors")
        return [[float(x) for x in self.line().split()] for _ in range(n)]

    def quit(self):
        self.say("quit")
        self.process.wait(10)


class Sql(Worker):
    """embed() in a session: timed inside the server, by PL/pgSQL."""

    def __init__(self, name, conninfo, model, threads, cpus):
        self.name, self.model, self.version = name, model, "in PostgreSQL"
        self.process = subprocess.Popen(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", conninfo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.say(open(os.path.join(HERE, "bench.sql")).read())
        self.say("SET embed.threads = %d; SELECT pg_backend_pid();" % threads)
        subprocess.run(["taskset", "-a", "-p", "-c", cpus, self.line()], check=True, stdout=subprocess.DEVNULL)

    def line(self):
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError("psql ended")
        return line

    def documents(self, docs):
        self.say("TRUNCATE bench_docs;")
        for i, (text, _) in enumerate(docs):
            self.say("INSERT INTO bench_docs VALUES (%d, '%s');" % (i, text.replace("'", "''")))

    def bench(self, batch, seconds, at_least=1, at_most=400):
        self.say("SELECT array_to_string(pg_temp.bench('%s', %d, %g, %d, %d), ' ');" % (self.model, batch, seconds, at_least, at_most))
        return [float(x) for x in self.line().split()]

    def vectors(self, n):
        self.say("SELECT array_to_string(embed(t, '%s'), ' ') FROM bench_docs ORDER BY i;" % self.model)
        return [[float(x) for x in self.line().split()] for _ in range(n)]

    def quit(self):
        self.process.stdin.close()
        self.process.wait(10)


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def machine():
    flags, name = set(), ""
    for line in open("/proc/cpuinfo"):
        if line.startswith("flags"):
            flags = set(line.split()[2:])
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
    interesting = [x for x in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8") if x in flags]
    return {"cpu": name, "cpus": os.cpu_count(), "isa": interesting, "kernel": platform.release(), "load": os.getloadavg()[0]}


def operations(shape, tokens):
    """of one document: linear layers and attention, a multiply and an addition are two"""
    h, n, i = shape["hidden"], shape["layers"], shape["intermediate"]
    return tokens * (2 * n * (4 * h * h + 2 * h * i) + 4 * tokens * h * n)


def start_workers(cpus):
    peers = os.path.join(args.work, "peers")
    python = [sys.executable, os.path.join(HERE, "peer_worker.py")]
    commands = {
        "embed-int8": [args.worker, args.int8, str(args.threads)],
        "embed-fp32": [args.worker, args.fp32, str(args.threads)],
    }
    workers = []
    for name in args.engines.split(","):
        if name == "embed-sql":
            if args.sql and args.clock == "wall":
                workers.append(Sql(name, args.sql, args.sql_model, args.threads, cpus))
            continue
        workers.append(Worker(name, commands.get(name) or python + [name, str(args.threads), peers], cpus))
    return workers


def check_agreement(workers, corpus):
    """Cosines of every engine's vectors to ONNX Runtime's fp32."""
    docs = [corpus.document(tokens, i * 977) for i, tokens in enumerate([8, 16, 24, 48, 64, 100, 128, 200, 256, 400] * 5)]
    reference, found = None, {}
    for w in workers:
        w.documents(docs)
        vectors = w.vectors(len(docs))
        reference = reference or vectors
        c = [cosine(a, b) for a, b in zip(vectors, reference)]
        found[w.name] = {"mean": statistics.mean(c), "min": min(c)}
    print("\nAgreement: cosine to %s, %d documents of 8 to 400 tokens" % (workers[0].name, len(docs)))
    for name, c in found.items():
        print("    %-14s mean %.5f  min %.5f" % (name, c["mean"], c["min"]))
        if c["mean"] < AGREE:
            raise SystemExit("%s does not compute the same model" % name)
    return found


def measure(workers, corpus, tokens, batch):
    """{name: [[ms, ...] of each round]}"""
    docs = corpus.documents(tokens, max(batch, 16), seed=tokens)
    times = {w.name: [] for w in workers}
    for w in workers:
        w.documents(docs)
        w.bench(batch, 0)  # peers choose their setting here
    for _ in range(args.rounds):
        for w in workers:
            times[w.name].append(w.bench(batch, args.seconds))
    return times


def summary(times, peak, shape, tokens, batch):
    rows = {}
    for name, rounds in times.items():
        median = statistics.median(x for r in rounds for x in r)
        gops = operations(shape, tokens) * batch / median * 1e-6
        rows[name] = {
            "ms": median,
            "ms_min": min(x for r in rounds for x in r),
            "calls": sum(map(len, rounds)),
            "tokens_per_s": tokens * batch / median * 1e3,
            "gops": gops,
            "share_of_peak": gops / peak / args.threads if peak else None,
            "round_ms": [statistics.median(r) for r in rounds],
        }
    ours = rows.get("embed-int8")
    for name, row in rows.items():
        if ours and name not in OURS:
            ratios = [p / o for p, o in zip(row["round_ms"], ours["round_ms"])]
            row["embed_is_faster"] = {"ratio": row["ms"] / ours["ms"], "from": min(ratios), "to": max(ratios), "best": row["ms_min"] / ours["ms_min"]}
    return rows


def print_cell(tokens, batch, rows):
    print("\n%d tokens, batch %d, %d thread(s), %s time" % (tokens, batch, args.threads, args.clock))
    for name, r in rows.items():
        ratio = r.get("embed_is_faster")
        print(
            "    %-14s %9.2f ms  (best %9.2f)  %7.0f tokens/s  %s  %s"
            % (
                name,
                r["ms"],
                r["ms_min"],
                r["tokens_per_s"],
                "%3.0f %% of peak" % (100 * r["share_of_peak"]) if r["share_of_peak"] else "",
                "embed-int8 is %.2fx (%.2f to %.2f; best calls %.2f)" % (ratio["ratio"], ratio["from"], ratio["to"], ratio["best"]) if ratio else "",
            ),
            flush=True,
        )


def measured_peak():
    out = subprocess.run(["taskset", "-c", cpu_list(1), args.limits], capture_output=True, text=True, check=True).stdout
    return {level: float(gops) for level, gops in (line.split() for line in out.splitlines())}


def cpu_list(threads):
    """The last CPUs: the first one has the interrupts."""
    cpus = sorted(os.sched_getaffinity(0))
    return ",".join(map(str, cpus[-threads:]))


def parse():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--work", required=True)
    p.add_argument("--cli", required=True)
    p.add_argument("--worker", required=True)
    p.add_argument("--limits", required=True)
    p.add_argument("--int8", required=True)
    p.add_argument("--fp32", required=True)
    p.add_argument("--sql", default="")
    p.add_argument("--sql-model", default="bench")
    p.add_argument("--engines", default="ort-fp32,embed-int8,embed-sql,ort-int8,ov-int8,ov-int8-bf16")
    p.add_argument("--cells", default="128x1,128x32,16x1,64x1,256x1,512x1,16x32,64x32,256x32")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=0.4)
    p.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: for one thread on a machine that others use; without embed-sql")
    p.add_argument("--out", default="bench.json")
    return p.parse_args()


def main():
    shape = json.load(open(os.path.join(args.work, "peers", "model.json")))
    peaks = measured_peak()
    peak = max(peaks.values(), default=None)
    here = machine()
    print("%s, %d CPUs, %s; load %.1f" % (here["cpu"], here["cpus"], " ".join(here["isa"]), here["load"]))
    print("peak of one core: " + ", ".join("%s %.0f GOPS" % x for x in peaks.items()))
    corpus = Corpus(args.cli, args.int8)
    workers = start_workers(cpu_list(args.threads))
    result = {"machine": here, "peaks": peaks, "time": time.strftime("%Y-%m-%d %H:%M:%S"), "shape": shape, "threads": args.threads, "clock": args.clock, "cells": []}
    result["versions"] = {w.name: w.version for w in workers}
    for name, version in result["versions"].items():
        print("    %-14s %s" % (name, version))
    result["agreement"] = check_agreement(workers, corpus)
    for cell in args.cells.split(","):
        tokens, batch = map(int, cell.split("x"))
        rows = summary(measure(workers, corpus, tokens, batch), peak, shape, tokens, batch)
        print_cell(tokens, batch, rows)
        result["cells"].append({"tokens": tokens, "batch": batch, "engines": rows})
        with open(args.out, "w") as f:
            json.dump(result, f, indent=1)
    for w in workers:
        w.quit()
    print("\nall figures: %s" % args.out)


args = parse()
os.environ["BENCH_CLOCK"] = args.clock
main()
