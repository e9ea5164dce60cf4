#!/usr/bin/env python3
"""report.py FILE.json                   tables of a run of bench/run, as markdown
report.py FILE.json --into README...  puts the table meant for a page between its marks <!-- bench:NAME --> and <!-- /bench -->

A ratio is the median of the rounds' own ratios, and those are its spread. The best peer of a cell is the fastest whose
accuracy is not below OpenVINO int8's."""
import json
import os
import re
import statistics
import sys
import textwrap

ENGINES = {
    "ort-fp32": "ONNX Runtime fp32",
    "embed-int8": "embed int8",
    "embed-sql": "embed int8 in SQL",
    "embed-fp32": "embed fp32",
    "ov-int8-bf16": "OpenVINO int8 + bf16",
    "ov-int8": "OpenVINO int8",
    "ort-int8": "ONNX Runtime int8",
    "torch-int8": "torch int8",
    "torch-bf16": "torch bf16",
    "torch-fp32": "torch fp32",
    "llama-q8_0": "llama.cpp Q8_0",
}
NAMES = {**ENGINES, "ov-bf16": "OpenVINO bf16", "ov-fp32": "OpenVINO fp32", "nothing": "the harness alone"}
DECODERS = {  # name, and which of ours it is compared with
    "embed-int8": ("embed int8", "embed-int8"),
    "embed-int4": ("embed int4", "embed-int8"),
    "ov-decoder-int8": ("OpenVINO int8", "embed-int8"),
    "ov-decoder-int4": ("OpenVINO int4, group 128", "embed-int4"),
    "llama-decoder-q8_0": ("llama.cpp Q8_0", "embed-int8"),
    "llama-decoder-q4_0": ("llama.cpp Q4_0", "embed-int4"),
    "llama-decoder-q4_k_m": ("llama.cpp Q4_K_M", "embed-int4"),
}
NAMES.update({name: title for name, (title, _) in DECODERS.items()})
SHAPES = {"qwen": "Qwen3-Reranker-0.6B", "base": "a base BERT", "large": "a large BERT (bge-large)", "m3": "bge-m3 (but for its vocabulary, of which a text takes a few rows)"}
YARDSTICK = "ov-int8"
SAME = 0.0002  # of the mean cosine; the bf16 hint moves it that little either way
WITHOUT_YARDSTICK = 0.9985  # where OpenVINO is not there: what it has on the models we know


# ------------------------------------------------------------------ figures


def is_peer(name):
    return not name.startswith("embed-") and name != "nothing"


def accurate(result):
    """Peers whose vectors are not worse than the yardstick's."""
    found = result["accuracy"]
    least = found[YARDSTICK]["mean"] - SAME if YARDSTICK in found else WITHOUT_YARDSTICK
    return [n for n, a in found.items() if is_peer(n) and a["mean"] >= least]


def best_peer(result, engines, time_of=lambda row: row["ms"]):
    """Name of the fastest accurate one, or None."""
    names = [n for n in accurate(result) if n in engines]
    return min(names, key=lambda n: time_of(engines[n])) if names else None


def ratio(cell, ours, peer):
    """(how many times as fast ours is: the median of the rounds' ratios, their least and their most)"""
    a, b = cell["engines"][ours], cell["engines"][peer]
    rounds = [y / x for x, y in zip(a["round_ms"], b["round_ms"])]
    return statistics.median(rounds), min(rounds), max(rounds)


def peak(result):
    return max(result["peaks"].values(), default=0)


def share(result, cell, name):
    whole = peak(result) * cell["threads"]
    return cell["engines"][name]["gops"] / whole if whole else 0


def best_mixed(rows):
    """{engine: (arrangement, texts per second)}: every engine at its best"""
    found = {}
    for name, ways in rows.items():
        way = max(ways, key=lambda a: ways[a]["texts_per_s"])
        found[name] = (way, ways[way]["texts_per_s"])
    return found


def sql_overheads(sql):
    """[(statement, ms a text, overhead over the core)]"""
    ms = {key: statistics.median(x) / sql["texts"] for key, x in sql["passes_ms"].items()}
    one, all_at_once = ms["embed-int8 one"], ms["embed-int8 all"]
    return [
        ("the core, one text a call", one, None),
        ("`embed(text)` in a PL/pgSQL loop", ms["embed-sql one"], ms["embed-sql one"] / one - 1),
        ("`SELECT embed(body) FROM t`", ms["embed-sql select"], ms["embed-sql select"] / one - 1),
        ("the core, all texts in one call", all_at_once, None),
        ("`embed(text[])`", ms["embed-sql all"], ms["embed-sql all"] / all_at_once - 1),
        ("`SELECT embed_agg(body) FROM t`", ms["embed-sql agg"], ms["embed-sql agg"] / all_at_once - 1),
    ]


def order(names):
    known = list(NAMES)
    ours = [n for n in names if not is_peer(n)]
    return ours + sorted((n for n in names if is_peer(n)), key=lambda n: known.index(n) if n in known else len(known))


# --------------------------------------------------------- while it runs


def print_head(result):
    m = result["machine"]
    print("\n%s, %d CPUs, %s; load %.1f" % (m["cpu"], m["cpus"], " ".join(m["isa"]), m["load"]))
    print("peak of one core: " + ", ".join("%s %.0f GOPS" % x for x in result["peaks"].items()))
    for name, version in result["versions"].items():
        print("    %-14s %s" % (name, version))
    for name, why in result["skipped"].items():
        print("    **** SKIPPED: %s: %s ****" % (name, why))
    print("\nAccuracy: cosine to %s, %d documents of 8 to 400 tokens" % (result["reference"], result["accuracy_documents"]))
    for name, c in result["accuracy"].items():
        print("    %-14s mean %.5f  min %.5f" % (name, c["mean"], c["min"]))


def print_cell(result, cell):
    print("\n%s, %d tokens, batch %d, %d thread(s), %s time" % (cell["shape"], cell["tokens"], cell["batch"], cell["threads"], result["clock"]))
    for name, row in cell["engines"].items():
        text = "    %-14s %9.2f ms (best %9.2f) %8.0f tokens/s" % (name, row["ms"], row["ms_min"], row["tokens_per_s"])
        if peak(result):
            text += "  %3.0f %% of peak" % (100 * share(result, cell, name))
        ours = DECODERS[name][1] if name in DECODERS else "embed-int8"
        if is_peer(name) and ours in cell["engines"]:
            text += "  %s is %.2fx (%.2f to %.2f)" % ((ours,) + ratio(cell, ours, name))
        if cell["threads"] > 1:
            text += "  on %.1f CPUs" % row["cores"]
        print(text, flush=True)


def print_logits(shape, correlations, logits):
    print("\n%s: correlation of the logits with embed-int8's, %d documents" % (shape, len(logits["embed-int8"])))
    for name, c in correlations.items():
        print("    %-20s %7.4f  %s .." % (name, c, " ".join("%.3f" % x for x in logits[name][:5])), flush=True)


def print_mixed(mixed):
    print("\nmixed lengths, %d texts of %.0f tokens in the mean, tokenizer included, %d thread(s): texts/s (in the first pass)" % (mixed["texts"], mixed["tokens_mean"], mixed["threads"]))
    for name, ways in mixed["engines"].items():
        print("    %-14s %s" % (name, "  ".join("%s %.1f (%.1f)" % (a, w["texts_per_s"], w["first_per_s"]) for a, w in ways.items())), flush=True)


def print_sql(result):
    print("\nstatements, %d texts of %d tokens, one thread" % (result["sql"]["texts"], result["sql"]["tokens"]))
    for what, ms, over in sql_overheads(result["sql"]):
        print("    %-36s %8.3f ms a text %s" % (what, ms, "" if over is None else "%+.1f %%" % (100 * over)), flush=True)
    print(parallel_line(result["sql"]), flush=True)


def print_memory(result):
    print("\nmemory of a process, the engine in use")
    for name, m in result["memory"].items():
        print("    %-14s %7.1f MB Pss (%d processes), started in %.2f s" % (name, m["pss_mb"], m["processes"], m["start_s"]), flush=True)


def print_first_call(result):
    print("\n" + first_call_line(result), flush=True)


# ----------------------------------------------------------------- markdown


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def thousands(x):
    return "{:,.0f}".format(x)


def cell_title(cell):
    return "%d x %d" % (cell["tokens"], cell["batch"])


def machine_line(result):
    m = result["machine"]
    level = next((v.rsplit(" ", 1)[1] for n, v in result["versions"].items() if n == "embed-int8"), "?")
    return "%s, %s, %d CPUs, level %s, measured peak of a core %.0f GOPS; %s in %s time, %d rounds, load %.1f before and %.1f after." % (
        result["time"][:10], m["cpu"], m["cpus"], level, peak(result), result["model"], result["clock"], result["rounds"], m["load"], result.get("load_after", 0))


def ratio_text(found):
    return "%.2fx (%.2f to %.2f)" % found


def cells_table(result, threads, shape="small"):
    """One row a cell: ours, the best peer, and every peer."""
    cells = [c for c in result["cells"] if c["threads"] == threads and c["shape"] == shape and "embed-int8" in c["engines"]]
    if not cells:
        return ""
    peers = [n for n in order(cells[0]["engines"]) if is_peer(n)]
    rows = []
    for cell in cells:
        best = best_peer(result, cell["engines"])
        rows.append(
            [cell_title(cell), thousands(cell["engines"]["embed-int8"]["tokens_per_s"]), "%.0f %%" % (100 * share(result, cell, "embed-int8"))]
            + ["**%s**" % ratio_text(ratio(cell, "embed-int8", best)) if best else ""]
            + [("%s: %.2fx" % (thousands(cell["engines"][n]["tokens_per_s"]), ratio(cell, "embed-int8", n)[0])) if n in cell["engines"] else "" for n in peers]
        )
    return table(["tokens x texts", "embed int8, tokens/s", "of peak", "to the best peer"] + [NAMES.get(n, n) for n in peers], rows)


def decoder_cell(cell, name):
    """Tokens per second; of a peer also how many times as fast ours of the same precision is."""
    if name not in cell["engines"]:
        return ""
    text = thousands(cell["engines"][name]["tokens_per_s"])
    ours = DECODERS[name][1]
    if name == ours or ours not in cell["engines"]:
        return text
    found = ratio(cell, ours, name)
    return "%s: %s" % (text, "**%s**" % ratio_text(found) if is_peer(name) else "%.2f of int8" % (1 / found[0]))


def decoder_table(result, shape):
    cells = [c for c in result["cells"] if c["shape"] == shape]
    names = [n for n in DECODERS if any(n in c["engines"] for c in cells)]
    rows = [
        ["%d, %d" % (c["tokens"], c["threads"]), "%.0f %%" % (100 * share(result, c, "embed-int8")) if "embed-int8" in c["engines"] else ""] + [decoder_cell(c, n) for n in names]
        for c in cells
    ]
    return table(["tokens, threads", "int8 of peak"] + [NAMES[n] for n in names], rows)


def is_decoder(result, shape):
    return "head_size" in result["shapes"][shape]


def decoder_parts(result, shape):
    h, same = result["shapes"][shape], result["logits"][shape]
    return [
        "The shape of %s (hidden %d, %d layers, %d and %d heads of %d, %d), random weights, one document a call, tokens per second:"
        % (SHAPES.get(shape, shape), h["hidden"], h["layers"], h["heads"], h["kv_heads"], h["head_size"], h["intermediate"]),
        decoder_table(result, shape),
        "Correlation of the logits with embed int8's: %s." % "; ".join("%s %.4f" % (NAMES[n], c) for n, c in same.items() if n != "embed-int8"),
    ]


def fp32_table(result):
    cells = [c for c in result["cells"] if c["threads"] == 1 and {"embed-fp32", "ort-fp32"} <= set(c["engines"])]
    rows = [[cell_title(c), thousands(c["engines"]["embed-fp32"]["tokens_per_s"]), ratio_text(ratio(c, "embed-fp32", "ort-fp32"))] for c in cells]
    return table(["tokens x texts", "embed fp32, tokens/s", "to ONNX Runtime fp32"], rows) if rows else ""


def accuracy_table(result):
    rows = [[NAMES.get(n, n), "%.5f" % a["mean"], "%.5f" % a["min"]] for n, a in result["accuracy"].items()]
    return table(["cosine to " + NAMES[result["reference"]], "mean", "min"], rows)


def mixed_table(mixed):
    best = best_mixed(mixed["engines"])
    ours = best.get("embed-int8", ("", 0))[1]
    way = {"one": "one by one", "all": "one array", "select": "SELECT over a table", "sorted8": "sorted, by 8", "sorted32": "sorted, by 32"}
    rows = [
        [NAMES.get(n, n), "%.1f" % rate, way[a], "%.1f" % mixed["engines"][n][a]["first_per_s"], "%.2fx" % (ours / rate) if is_peer(n) and ours else ""]
        for n, (a, rate) in sorted(best.items(), key=lambda x: -x[1][1])
    ]
    return table(["engine", "texts/s", "at its best", "in its first pass", "embed int8 is"], rows)


def parallel_line(sql):
    if "parallel_ms" not in sql:
        return ""
    found = [a / b for a, b in sql["parallel_ms"]]
    return "`SELECT embed(body) FROM t` with one parallel worker: %.2f times as fast (%.2f to %.2f)." % (statistics.median(found), min(found), max(found))


def first_call_line(result):
    ms = result["first_call_ms"]
    return "First call of a new session: median of %d %.1f ms, %.1f to %.1f ms." % (len(ms), statistics.median(ms), min(ms), max(ms))


def sql_table(result):
    rows = [[what, "%.3f" % ms, "" if over is None else "%+.1f %%" % (100 * over)] for what, ms, over in sql_overheads(result["sql"])]
    return table(["%d texts of %d tokens" % (result["sql"]["texts"], result["sql"]["tokens"]), "ms a text", "over the core"], rows)


def memory_table(result):
    harness = result["memory"].get("nothing", {"pss_mb": 0})["pss_mb"]
    rows = []
    for name, m in result["memory"].items():
        if name == "nothing":
            continue
        own = m["pss_mb"] - harness if is_peer(name) else m["pss_mb"]
        rows.append([NAMES.get(name, name), "%.0f MB" % own, "%.2f s" % m["start_s"]])
    return table(["engine, %d processes at once" % next(iter(result["memory"].values()))["processes"], "Pss of each", "start"], rows)


def versions_line(result):
    versions = dict.fromkeys(v for n, v in result["versions"].items() if is_peer(n))
    return "Peers: %s." % "; ".join(v.split("-releases")[0] for v in versions)


def markdown(result):
    parts = [machine_line(result), versions_line(result)]
    for name, why in result["skipped"].items():
        parts.append("Not measured: %s, %s." % (NAMES.get(name, name), why.splitlines()[0] if why else ""))
    for threads in sorted({c["threads"] for c in result["cells"]}):
        found = cells_table(result, threads)
        if found:
            parts += ["%d thread%s:" % (threads, "s" if threads > 1 else ""), found]
    for shape in [s for s in result["shapes"] if s != "small" and is_decoder(result, s)]:
        parts += decoder_parts(result, shape)
    for shape in [s for s in result["shapes"] if s != "small" and not is_decoder(result, s)]:
        h = result["shapes"][shape]
        parts += ["The shape of %s (hidden %d, %d layers, %d heads, %d), random weights, one thread:" % (SHAPES.get(shape, shape), h["hidden"], h["layers"], h["heads"], h["intermediate"]), cells_table(result, 1, shape)]
    parts += [fp32_table(result), accuracy_table(result)] if result["accuracy"] else []
    for mixed in result["mixed"]:
        parts += ["Mixed lengths, %d texts of %.0f tokens in the mean, at most %d, tokenizer included, %d thread%s:" % (mixed["texts"], mixed["tokens_mean"], mixed["tokens_max"], mixed["threads"], "s" if mixed["threads"] > 1 else ""), mixed_table(mixed)]
    if result.get("sql"):
        parts += [sql_table(result), parallel_line(result["sql"])]
    if result["memory"]:
        parts.append(memory_table(result))
    if result.get("first_call_ms"):
        parts.append(first_call_line(result))
    return "\n\n".join(p for p in parts if p)


SHORT_HEAD = """Tokens per second with one thread, and how many times as fast embed is as the best peer: the fastest whose vectors are not less accurate than OpenVINO int8's."""


def short_table(result):
    """For the README: one thread, batch 1 and 32."""
    columns = ["ov-int8-bf16", "ov-int8", "ort-int8", "ort-fp32", "torch-fp32", "llama-q8_0"]
    cells = [c for c in result["cells"] if c["threads"] == 1 and c["shape"] == "small" and "embed-int8" in c["engines"]]
    columns = [n for n in columns if any(n in c["engines"] for c in cells)]
    rows = [
        [cell_title(c), "**%s**" % thousands(c["engines"]["embed-int8"]["tokens_per_s"])]
        + [thousands(c["engines"][n]["tokens_per_s"]) if n in c["engines"] else "" for n in columns]
        + [ratio_text(ratio(c, "embed-int8", best_peer(result, c["engines"]))) if best_peer(result, c["engines"]) else ""]
        for c in cells
    ]
    return "%s\n\n%s\n\n%s" % (SHORT_HEAD, machine_line(result), table(["tokens x texts", "embed int8"] + [NAMES[n] for n in columns] + ["embed to the best peer"], rows))


# --------------------------------------------------------------------- files

PAGES = {"short": short_table, "full": markdown}
PICTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results.png")


def write(result, f):
    """JSON, a line for each row of a cell: small, and readable in a diff."""
    text = json.dumps(result, separators=(", ", ": "))
    f.write(re.sub(r'(?<=[{\[,] )?("(?:shape|threads|embed-|ort-|ov-|torch-|llama-|cells|mixed|sql|memory|accuracy|machine|versions|skipped|logits)[a-z0-9_-]*": [{\[])', r"\n\1", text) + "\n")


def wrap(text):
    """Prose at 100 columns; rows of tables, code and lists stay as they are."""
    return "\n".join(line if line.startswith(("|", " ", "-")) else textwrap.fill(line, 100, break_long_words=False, break_on_hyphens=False) for line in text.split("\n"))


def put_into(path, result):
    with open(path) as f:
        text = f.read()
    picture = "![tokens per second by length](%s)" % os.path.relpath(PICTURE, os.path.dirname(os.path.abspath(path)))
    new, n = re.subn(
        r"(<!-- bench:(short|full) -->\n).*?(<!-- /bench -->)", lambda m: "%s%s\n\n%s\n%s" % (m[1], picture, wrap(PAGES[m[2]](result)), m[3]), text, flags=re.S
    )
    if n == 0:
        raise SystemExit("%s has no mark <!-- bench:NAME -->" % path)
    if new != text:
        with open(path, "w") as f:
            f.write(new)


def main():
    if len(sys.argv) == 2 and sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return
    if len(sys.argv) < 2 or (len(sys.argv) > 2 and sys.argv[2] != "--into"):
        raise SystemExit(__doc__)
    result = json.load(open(sys.argv[1]))
    for path in sys.argv[3:]:
        put_into(path, result)
    if len(sys.argv) == 2:
        print(markdown(result))


if __name__ == "__main__":
    main()
