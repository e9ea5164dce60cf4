"""compare.py: embed beside its peers, in one run; see bench/README.md. Started by bench/run.

Every engine is a resident process pinned to the same CPUs, asked in turn (A B C A B C ...), so that a noisy neighbour hits all
alike. What is measured goes to --out as JSON; report.py and plot.py make tables and the picture of it."""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time

import live
import machine
import peer_engines
import recorded
import report
from corpus import Corpus, descriptions
from workers import Sql, Worker

HERE = os.path.dirname(os.path.abspath(__file__))
AGREE = 0.95  # a mean cosine to fp32 below this is another model, not another precision
SHAPE_ENGINES = ("ort-int8", "ov-int8", "ov-int8-bf16")
SHAPE_CELLS = {"m3": "512x1,2048x1,8192x1", "qwen": "128x1,512x1,2048x1"}
DECODERS = ("qwen",)
DECODER_DOCUMENTS = 2  # of a cell: all have the same length, and nothing is computed twice
LOGITS = 12  # documents whose logits are compared
SAME_RANKING = 0.5  # a correlation below this is another model; 4 bits leave 0.8 of random weights
LONG_ROUNDS = 2  # of cells whose calls take half a minute
ACCURACY_LENGTHS = (8, 16, 24, 48, 64, 100, 128, 200, 256, 400)
SQL_TOKENS = 128


# ------------------------------------------------------------------ engines


def cpu_list(threads):
    """The last CPUs: the first one has the interrupts."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))[-threads:]))


def start(name, threads, shape="small"):
    cpus = cpu_list(threads)
    if name == "embed-sql":
        return Sql(name, args.sql, args.sql_model, threads, cpus)
    if name.startswith("embed-"):
        command = [args.worker, os.path.join(args.work, shape, name[6:] + ".img"), str(threads)]
    else:
        command = [sys.executable, os.path.join(HERE, "peer_worker.py"), name, str(threads), os.path.join(args.work, shape, "peers")]
    return Worker(name, command, cpus, args.work, args.realtime)


def wanted(names, skipped, clock):
    """Those that can run; why another cannot goes to skipped."""
    found = []
    for name in names:
        if name == "embed-sql":
            if args.sql and clock == "wall":
                found.append(name)
        elif name.startswith("embed-"):
            found.append(name)
        elif name not in peer_engines.ENGINES:
            raise SystemExit("no engine is called %s" % name)
        elif peer_engines.ENGINES[name][0] not in args.groups.split(","):
            skipped[name] = "%s is not installed" % peer_engines.ENGINES[name][0]
        else:
            found.append(name)
    return found


def start_all(names, threads, result, shape="small"):
    workers = []
    for name in names:
        try:
            workers.append(start(name, threads, shape))
            result["versions"][name] = workers[-1].version
        except (RuntimeError, OSError, IndexError) as e:
            result["skipped"][name] = str(e)[-300:]
            print("    **** SKIPPED: %s: %s ****" % (name, str(e).strip()), flush=True)
    # all is compared with ours
    if any(n.startswith("embed-") and n != "embed-sql" and n in result["skipped"] for n in names):
        raise SystemExit("our own engine did not start")
    return workers


def quit_all(workers):
    for w in workers:
        w.quit()


# ----------------------------------------------------------------- accuracy


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def measure_accuracy(workers, corpus, result):
    """Cosines of every engine's vectors to the first fp32 engine's. Given as texts, so token ids are compared too."""
    docs = [corpus.document(tokens, i * 977) for i, tokens in enumerate(ACCURACY_LENGTHS * args.accuracy_rounds)]
    vectors = {}
    for w in workers:
        w.texts([text for text, _ in docs])
        vectors[w.name] = w.vectors(len(docs))
    reference = next((n for n in ("torch-fp32", "ort-fp32", "embed-fp32") if n in vectors), None)
    if reference is None:
        raise SystemExit("no fp32 engine to compare with")
    result["reference"], result["accuracy_documents"] = reference, len(docs)
    for name, rows in vectors.items():
        c = [cosine(a, b) for a, b in zip(rows, vectors[reference])]
        result["accuracy"][name] = {"mean": round(statistics.mean(c), 6), "min": round(min(c), 6)}
        if statistics.mean(c) < AGREE:
            raise SystemExit("%s does not compute the same model: mean cosine %.4f to %s" % (name, statistics.mean(c), reference))


# -------------------------------------------------------------------- cells


def operations(shape, tokens):
    """of one document: linear layers and attention, a multiplication and an addition are two"""
    h, n, i = shape["hidden"], shape["layers"], shape["intermediate"]
    if "head_size" in shape:  # a decoder: a gate, fewer key heads, and half of the keys are seen
        q, kv = shape["heads"] * shape["head_size"], shape["kv_heads"] * shape["head_size"]
        return tokens * (2 * n * (2 * h * q + 2 * h * kv + 3 * h * i) + 2 * tokens * q * n)
    return tokens * (2 * n * (4 * h * h + 2 * h * i) + 4 * tokens * h * n)


def measure_cell(workers, corpus, tokens, batch, threads, result, shape="small"):
    docs = corpus.documents(tokens, max(batch, DECODER_DOCUMENTS if shape in DECODERS else 16), seed=tokens)
    rounds = {w.name: [] for w in workers}
    cpu, wall = dict.fromkeys(rounds, 0.0), dict.fromkeys(rounds, 0.0)
    for w in workers:
        w.documents(docs)
        w.bench(batch, 0)  # peers choose their setting here
    for _ in range(args.rounds if tokens <= (1024 if shape in DECODERS else 4096) else LONG_ROUNDS):
        for w in workers:
            cpu_s, begin = w.cpu_s(), time.perf_counter()
            rounds[w.name].append(w.bench(batch, args.seconds))
            cpu[w.name] += w.cpu_s() - cpu_s
            wall[w.name] += time.perf_counter() - begin
    cell = {"shape": shape, "tokens": tokens, "batch": batch, "threads": threads, "engines": {}}
    for w in workers:
        times = rounds[w.name]
        median = statistics.median(x for r in times for x in r)
        row = {
            "ms": round(median, 4),
            "ms_min": round(min(x for r in times for x in r), 4),
            "calls": sum(map(len, times)),
            "tokens_per_s": round(tokens * batch / median * 1e3, 1),
            "gops": round(operations(result["shapes"][shape], tokens) * batch / median * 1e-6, 2),
            "cores": round(cpu[w.name] / wall[w.name], 2),
            "round_ms": [round(statistics.median(r), 4) for r in times],
        }
        setting = w.setting(batch) if not w.name.startswith("embed-") else None
        if setting:
            row["setting"] = setting
        cell["engines"][w.name] = row
    result["cells"].append(cell)
    live.print_cell(result, cell)


# -------------------------------------------------------------------- mixed


def arrangements(name):
    if name == "embed-sql":
        return ("one", "select", "all")
    if name.startswith("embed-"):
        return ("one", "all")
    return ("one", "sorted8") if args.quick else ("one", "sorted8", "sorted32")


def measure_mixed(workers, threads, result):
    """Texts as they come, tokenizer included. The first pass is told apart: some engines pay for each length they have not seen."""
    texts = descriptions()[: args.texts]
    passes = {w.name: {a: [] for a in arrangements(w.name)} for w in workers}
    for w in workers:
        w.texts(texts)
    for _ in range(args.mixed_passes):
        for w in workers:
            for a in passes[w.name]:
                passes[w.name][a].append(w.one_pass(a))
    rows = {
        name: {a: {"first_per_s": round(len(texts) / ms[0] * 1e3, 2), "texts_per_s": round(len(texts) / statistics.median(ms[1:]) * 1e3, 2)} for a, ms in found.items()}
        for name, found in passes.items()
    }
    counts = result["text_tokens"][: len(texts)]
    result["mixed"].append({"threads": threads, "texts": len(texts), "tokens_mean": round(statistics.mean(counts), 1), "tokens_max": max(counts), "engines": rows})
    live.print_mixed(result["mixed"][-1])


# ---------------------------------------------------------------------- sql


def measure_sql(corpus, result):
    """The statements people write, beside the same texts through the core alone (tokenizer included in both)."""
    texts = [text for text, _ in corpus.documents(SQL_TOKENS, args.sql_texts, seed=3)]
    core, session = start("embed-int8", 1), start("embed-sql", 1)
    plan = [(core, "one"), (session, "one"), (session, "select"), (core, "all"), (session, "all"), (session, "agg")]
    times = {(w.name, how): [] for w, how in plan}
    for w in (core, session):
        w.texts(texts)
        w.one_pass("one")
    for _ in range(args.sql_passes):
        for w, how in plan:
            times[w.name, how].append(w.one_pass(how))
    result["sql"] = {
        "tokens": SQL_TOKENS,
        "texts": len(texts),
        "passes_ms": {"%s %s" % key: [round(x, 3) for x in ms] for key, ms in times.items()},
    }
    if len(os.sched_getaffinity(0)) > 1:
        subprocess.run(["taskset", "-a", "-p", "-c", cpu_list(2), str(session.pid)], check=True, stdout=subprocess.DEVNULL)
        both = [(session.one_pass("select"), session.one_pass("parallel")) for _ in range(args.sql_passes)]
        result["sql"]["parallel_ms"] = [[round(x, 3) for x in pair] for pair in both]
    quit_all([core, session])
    live.print_sql(result)


# ------------------------------------------------------- memory, first call


def measure_memory(names, corpus, result):
    """Some processes of an engine at once: Pss counts a page that n of them share as 1/n in each."""
    docs = corpus.documents(128, 16)
    for name in ["nothing"] + names:
        workers = []
        try:
            for _ in range(args.processes):
                workers.append(start(name, 1))
                workers[-1].documents(docs)
                workers[-1].vectors(len(docs)) if name == "embed-sql" else workers[-1].bench(1, 0)
            found = [w.memory_kb() for w in workers]
        except (RuntimeError, OSError, IndexError) as e:
            result["skipped"][name + " memory"] = str(e)[-300:]
            continue
        finally:
            quit_all(workers)
        result["memory"][name] = {
            "processes": len(found),
            "pss_mb": round(statistics.mean(f["Pss"] for f in found) / 1024, 1),
            "private_mb": round(statistics.mean(f["Private_Dirty"] + f["Private_Clean"] for f in found) / 1024, 1),
            "start_s": round(statistics.median(w.start_s for w in workers), 3),
        }
    live.print_memory(result)


FIRST_CALL = """DO $$ DECLARE t timestamptz := clock_timestamp(); BEGIN PERFORM embed('hello', '%s');
RAISE WARNING 'ms %%', extract(epoch FROM clock_timestamp() - t) * 1000; END $$"""


def measure_first_call(result):
    """of a new session, the loading of the library included"""
    times = []
    for _ in range(args.sessions + 1):
        out = subprocess.run(["psql", "-X", "-q", args.sql, "-c", FIRST_CALL % args.sql_model], capture_output=True, text=True, check=True).stderr
        times.append(float(out.split("ms ", 1)[1].split()[0]))
    result["first_call_ms"] = [round(x, 3) for x in times[1:]]
    live.print_first_call(result)


# --------------------------------------------------------------------- main


def measured_peak():
    out = subprocess.run(["taskset", "-c", cpu_list(1), args.limits], capture_output=True, text=True, check=True).stdout
    return {level: float(gops) for level, gops in (line.split() for line in out.splitlines())}


def save(result):
    peaks = measured_peak()
    for level, gops in peaks.items():
        result["peaks"][level] = max(gops, result["peaks"].get(level, 0))
    with open(args.out + ".tmp", "w") as f:
        recorded.write(result, f)
    os.replace(args.out + ".tmp", args.out)


def measure_shape(shape, corpus, names, threads, result):
    names = [n for n in names if n in SHAPE_ENGINES + ("embed-int8",)]
    result["shapes"][shape] = json.load(open(os.path.join(args.work, shape, "peers", "model.json")))
    workers = start_all(names, threads, result, shape)
    for cell in (args.shape_cells or SHAPE_CELLS.get(shape, "128x1,512x1,128x32")).split(","):
        measure_cell(workers, corpus, *map(int, cell.split("x")), threads, result, shape)
    quit_all(workers)


def correlation(a, b):
    a, b = ([x - statistics.mean(v) for x in v] for v in (a, b))
    return cosine(a, b)


def measure_logits(workers, corpus, result, shape):
    """Correlation of every engine's logits with ours: the weights are random, so this only shows that all compute the same model."""
    docs = [corpus.document(ACCURACY_LENGTHS[i % 5], i * 977) for i in range(LOGITS)]
    logits = {}
    for w in workers:
        w.documents(docs)
        logits[w.name] = [row[0] for row in w.vectors(len(docs))]
    found = {name: round(correlation(x, logits["embed-int8"]), 4) for name, x in logits.items()}
    result["logits"][shape] = found
    live.print_logits(shape, found, logits)
    for name, c in found.items():
        if c < SAME_RANKING:
            raise SystemExit("%s does not compute the same model: correlation %.4f of its logits with embed-int8's" % (name, c))


def measure_decoder(shape, corpus, threads, result):
    asked = args.engines.split(",") if args.engines_asked else report.DECODERS
    names = wanted([n for n in report.DECODERS if n in asked], result["skipped"], args.clock)
    result["shapes"][shape] = json.load(open(os.path.join(args.work, shape, "peers", "model.json")))
    for t in threads:
        workers = start_all(names, t, result, shape)
        if shape not in result["logits"]:
            measure_logits(workers, corpus, result, shape)
        for cell in (args.shape_cells or SHAPE_CELLS[shape]).split(","):
            measure_cell(workers, corpus, *map(int, cell.split("x")), t, result, shape)
            save(result)
        quit_all(workers)


def measure_threads(threads, corpus, names, phases, result):
    workers = start_all(names, threads, result)
    if not result["accuracy"]:
        measure_accuracy(workers, corpus, result)
        live.print_head(result)
    if "cells" in phases:
        for cell in args.cells.split(","):
            measure_cell(workers, corpus, *map(int, cell.split("x")), threads, result)
            save(result)
    if "mixed" in phases:
        measure_mixed(workers, threads, result)
    quit_all(workers)


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    hidden = argparse.SUPPRESS
    p.add_argument("--work", required=True, help=hidden)
    p.add_argument("--cli", required=True, help=hidden)
    p.add_argument("--worker", required=True, help=hidden)
    p.add_argument("--limits", required=True, help=hidden)
    p.add_argument("--title", default="model", help=hidden)
    p.add_argument("--sql", default="", help=hidden)
    p.add_argument("--sql-model", default="bench", help=hidden)
    p.add_argument("--load", type=float, help=hidden)
    p.add_argument("--groups", default="", help=hidden)
    p.add_argument("--shapes", default="", help=hidden)
    p.add_argument("--quick", action="store_true", help="few cells, one thread, few engines")
    p.add_argument("--engines", help="in this order; without it all, with --quick the fast ones")
    p.add_argument("--cells", help="tokens x texts a call, 128x1,128x32,...")
    p.add_argument("--shape-cells", help="of the larger shapes; without it 128x1,512x1,128x32, or 512x1,2048x1,8192x1 for m3")
    p.add_argument("--realtime", action="store_true", help="run engines with real-time priority, on a machine that others use; needs root")
    p.add_argument("--threads", help="1,2: a run of all cells with each")
    p.add_argument("--phases", default="cells,mixed,shapes,sql,memory,first")
    p.add_argument("--rounds", type=int, help="of each engine in a cell")
    p.add_argument("--seconds", type=float, help="a round")
    p.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: for one thread on a machine that others use; without embed-sql")
    p.add_argument("--out", default="bench.json")
    found = p.parse_args()
    quick, few = found.quick, len(os.sched_getaffinity(0)) < 2
    found.engines_asked = found.engines is not None
    found.engines = found.engines or ("ort-fp32,embed-int8,embed-sql,ort-int8,ov-int8,ov-int8-bf16" if quick else ",".join(report.ENGINES))
    found.cells = found.cells or ("16x1,128x1,512x1,128x32" if quick else "16x1,64x1,128x1,256x1,512x1,16x32,64x32,128x32,256x32,512x32")
    found.threads = found.threads or ("1" if quick or few else "1,2")
    found.rounds = found.rounds or (3 if quick else 5)
    found.seconds = found.seconds or (0.25 if quick else 0.4)
    found.accuracy_rounds = 2 if quick else 10
    found.texts, found.mixed_passes = (60, 2) if quick else (200, 3)
    found.sql_texts, found.sql_passes = (32, 3) if quick else (128, 5)
    found.processes, found.sessions = (2, 5) if quick else (4, 20)
    return found


def main():
    threads = [int(t) for t in args.threads.split(",")]
    if args.clock == "cpu" and threads != [1]:
        raise SystemExit("--clock cpu is for one thread")
    phases = args.phases.split(",")
    result = {key: {} for key in ("versions", "skipped", "accuracy", "peaks", "memory", "logits")}
    result.update(cells=[], mixed=[], machine=machine.here(), model=args.title, clock=args.clock, time=time.strftime("%Y-%m-%d %H:%M"))
    result.update(rounds=args.rounds, seconds=args.seconds, realtime=args.realtime)
    if args.load is not None:
        result["machine"]["load"] = args.load  # before we built anything
    result["shapes"] = {"small": json.load(open(os.path.join(args.work, "small", "peers", "model.json")))}
    corpus = Corpus(args.cli, os.path.join(args.work, "small", "int8.img"))
    result["text_tokens"] = corpus.counts(descriptions()[: args.texts])
    names = wanted(args.engines.split(","), result["skipped"], args.clock)
    save(result)
    shapes = [s for s in args.shapes.split(",") if s and "shapes" in phases]
    if set(phases) != {"shapes"} or set(shapes) - set(DECODERS):
        for t in threads:
            measure_threads(t, corpus, names, phases, result)
            save(result)
    for shape in shapes:
        if shape in DECODERS:
            measure_decoder(shape, corpus, threads, result)
        else:
            measure_shape(shape, corpus, names, 1, result)
        save(result)
    if args.sql and "sql" in phases and args.clock == "wall":
        measure_sql(corpus, result)
    if "memory" in phases:
        measure_memory([n for n in names if n != "embed-fp32"], corpus, result)
    if args.sql and "first" in phases:
        measure_first_call(result)
    del result["text_tokens"]
    result["load_after"] = os.getloadavg()[0]
    save(result)
    recorded.check(result)
    print("\n%s\n\nall figures: %s" % (report.markdown(result), args.out))


args = parse()
os.environ["BENCH_CLOCK"] = args.clock
if __name__ == "__main__":
    main()
