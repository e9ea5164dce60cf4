#!/usr/bin/env python3
"""report.py FILE.json                     tables of a run of bench/run, as markdown
report.py --into README... [--of DIR]  puts the tables of all CPUs of DIR (bench/results) that are meant for a page between its
                                       marks <!-- bench:NAME --> and <!-- /bench -->

A ratio is the median of the rounds' own ratios, and those are its spread. The best peer of a cell is the fastest whose
accuracy is not below OpenVINO int8's."""
import argparse
import html
import os
import re
import statistics
import sys
import textwrap

import machine
import recorded

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
    """(how many times as fast ours is: the median of the rounds' ratios, their least and their most); of a table by hand one number"""
    a, b = cell["engines"][ours], cell["engines"][peer]
    if "round_ms" not in a or "round_ms" not in b:
        return (a["tokens_per_s"] / b["tokens_per_s"],)
    rounds = [y / x for x, y in zip(a["round_ms"], b["round_ms"])]
    return statistics.median(rounds), min(rounds), max(rounds)


def to_best_peer(result, cell):
    """(ratio, least, most), or (ratio,) where the spread is not known; None without a peer"""
    if "to_best_peer" in cell:
        return tuple(cell["to_best_peer"])
    best = best_peer(result, cell["engines"]) if "embed-int8" in cell["engines"] else None
    return ratio(cell, "embed-int8", best) if best else None


def peak(result):
    return max(result["peaks"].values(), default=0)


def share(result, cell, name):
    """of the measured peak; None where it is not known"""
    if "by_hand" in result:
        return cell.get("of_peak") if name == "embed-int8" else None
    whole = peak(result) * cell["threads"]
    return cell["engines"][name]["gops"] / whole if whole else None


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


def title_of(name):
    return NAMES[name] if name in NAMES else plain(name, 60)


def order(names):
    known = list(NAMES)
    ours = [n for n in names if not is_peer(n)]
    return ours + sorted((n for n in names if is_peer(n)), key=lambda n: known.index(n) if n in known else len(known))


# ----------------------------------------------------------------- markdown


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def thousands(x):
    return "{:,.0f}".format(x)


def cell_title(cell):
    return "%d x %d" % (cell["tokens"], cell["batch"])


def plain(text, longest=300):
    """Text of a file in markdown: one line, and no mark of its own."""
    line = " ".join(str(text).split())[:longest]
    return re.sub(r"([\\`*_\[\]|!#~])", r"\\\1", html.escape(line, quote=False))


def level(result):
    """The level that embed ran on, by its version; else "?"."""
    version = str(result["versions"].get("embed-int8", ""))
    return plain(version.rsplit(" ", 1)[1]) if " level " in version else "?"


def percent(value):
    return "" if value is None else "%.0f %%" % (100 * value)


def threads_title(threads):
    return "%d thread%s" % (threads, "s" if threads > 1 else "")


def conditions(result):
    """How the figures came about: what a caption says."""
    if "by_hand" in result:
        return "a table entered by hand"
    words = machine.load_words(result["machine"]["load"])
    return words + (", real-time priority" if result.get("realtime") else "") + (", CPU time" if result["clock"] == "cpu" else "")


def machine_line(result, name=None):
    """Date, CPU, load, method; name is that of the file in bench/results/."""
    m = result["machine"]
    parts = [plain(result["time"][:10]), plain(m["cpu"])]
    if name and machine.title(m, name) != m["cpu"]:
        parts[1] = "%s (%s)" % (plain(machine.title(m, name)), parts[1])
    parts += ["%d CPUs" % m["cpus"]] if m["cpus"] else []
    parts += ["level %s" % level(result)] if level(result) != "?" else []
    parts += ["measured peak of a core %.0f GOPS" % peak(result)] if peak(result) else []
    text = "%s; %s, %s" % (", ".join(parts), plain(result["model"]), conditions(result))
    if recorded.is_number(result.get("rounds")) and "by_hand" not in result:
        text += ", %d rounds" % result["rounds"]
    if result.get("load_after") is not None:
        text += ", load %.1f after" % result["load_after"]
    return text + "."


def note_lines(result):
    """What the file says about itself."""
    found = [plain(result["note"], 2000)] if "note" in result else []
    if "by_hand" in result:
        found.append("**Entered by hand:** %s %s" % (plain(result["by_hand"]["source"], 2000), plain(result["by_hand"]["method"], 2000)))
    return found


def ratio_text(found):
    if found is None:
        return ""
    return "%.2fx (%.2f to %.2f)" % found if len(found) == 3 else "%.2fx" % found


def cells_table(result, threads, shape="small"):
    """One row a cell: ours, the best peer, and every peer."""
    cells = [c for c in result["cells"] if c["threads"] == threads and c["shape"] == shape and "embed-int8" in c["engines"]]
    if not cells:
        return ""
    peers = [n for n in order({n: None for c in cells for n in c["engines"]}) if is_peer(n)]
    rows = []
    for cell in cells:
        found = to_best_peer(result, cell)
        rows.append(
            [cell_title(cell), thousands(cell["engines"]["embed-int8"]["tokens_per_s"]), percent(share(result, cell, "embed-int8"))]
            + ["**%s**" % ratio_text(found) if found else ""]
            + [("%s: %.2fx" % (thousands(cell["engines"][n]["tokens_per_s"]), ratio(cell, "embed-int8", n)[0])) if n in cell["engines"] else "" for n in peers]
        )
    return table(["tokens x texts", "embed int8, tokens/s", "of peak", "to the best peer"] + [title_of(n) for n in peers], rows)


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
        ["%d, %d" % (c["tokens"], c["threads"]), percent(share(result, c, "embed-int8")) if "embed-int8" in c["engines"] else ""] + [decoder_cell(c, n) for n in names]
        for c in cells
    ]
    return table(["tokens, threads", "int8 of peak"] + [NAMES[n] for n in names], rows)


def is_decoder(result, shape):
    return "head_size" in result["shapes"][shape]


def decoder_parts(result, shape):
    h, same = result["shapes"][shape], result["logits"].get(shape, {})
    parts = [
        "The shape of %s (hidden %d, %d layers, %d and %d heads of %d, %d), random weights, one document a call, tokens per second:"
        % (SHAPES.get(shape, shape), h["hidden"], h["layers"], h["heads"], h["kv_heads"], h["head_size"], h["intermediate"]),
        decoder_table(result, shape),
    ]
    if set(same) - {"embed-int8"}:
        parts.append("Correlation of the logits with embed int8's: %s." % "; ".join("%s %.4f" % (title_of(n), c) for n, c in same.items() if n != "embed-int8"))
    return parts


def fp32_table(result):
    cells = [c for c in result["cells"] if c["threads"] == 1 and {"embed-fp32", "ort-fp32"} <= set(c["engines"])]
    rows = [[cell_title(c), thousands(c["engines"]["embed-fp32"]["tokens_per_s"]), ratio_text(ratio(c, "embed-fp32", "ort-fp32"))] for c in cells]
    return table(["tokens x texts", "embed fp32, tokens/s", "to ONNX Runtime fp32"], rows) if rows else ""


def accuracy_table(result):
    rows = [[title_of(n), "%.5f" % a["mean"], "%.5f" % a["min"]] for n, a in result["accuracy"].items()]
    return table(["cosine to " + title_of(result.get("reference", "?")), "mean", "min"], rows)


def mixed_table(mixed):
    best = best_mixed(mixed["engines"])
    ours = best.get("embed-int8", ("", 0))[1]
    way = {"one": "one by one", "all": "one array", "select": "SELECT over a table", "sorted8": "sorted, by 8", "sorted32": "sorted, by 32"}
    rows = [
        [title_of(n), "%.1f" % rate, way[a], "%.1f" % mixed["engines"][n][a]["first_per_s"], "%.2fx" % (ours / rate) if is_peer(n) and ours else ""]
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


def sql_table(sql):
    rows = [[what, "%.3f" % ms, "" if over is None else "%+.1f %%" % (100 * over)] for what, ms, over in sql_overheads(sql)]
    return table(["%d texts of %d tokens" % (sql["texts"], sql["tokens"]), "ms a text", "over the core"], rows)


def memory_table(result):
    harness = result["memory"].get("nothing", {"pss_mb": 0})["pss_mb"]
    rows = []
    for name, m in result["memory"].items():
        if name == "nothing":
            continue
        own = m["pss_mb"] - harness if is_peer(name) else m["pss_mb"]
        rows.append([title_of(name), "%.0f MB" % own, "%.2f s" % m["start_s"]])
    return table(["engine, %d processes at once" % next(iter(result["memory"].values()))["processes"], "Pss of each", "start"], rows)


def versions_line(result):
    versions = dict.fromkeys(plain(v.split("-releases")[0]) for n, v in result["versions"].items() if is_peer(n))
    return "Peers: %s." % "; ".join(versions) if versions else ""


def skipped_lines(result):
    found = ["%s (%s)" % (title_of(name), plain(why.splitlines()[0] if why else "?")) for name, why in result["skipped"].items()]
    return ["Not measured: %s." % ", ".join(found)] if found else []


def shape_parts(result):
    """The larger shapes, decoders first."""
    parts, shapes = [], [s for s in result["shapes"] if s != "small"]
    for shape in sorted(shapes, key=lambda s: not is_decoder(result, s)):
        if is_decoder(result, shape):
            parts += decoder_parts(result, shape)
            continue
        h, found = result["shapes"][shape], cells_table(result, 1, shape)
        if found:
            head = "The shape of %s (hidden %d, %d layers, %d heads, %d), random weights, one thread:"
            parts += [head % (SHAPES.get(shape, plain(shape)), h["hidden"], h["layers"], h["heads"], h["intermediate"]), found]
    return parts


def mixed_parts(result):
    parts = []
    for mixed in result["mixed"]:
        head = "Mixed lengths, %d texts of %.0f tokens in the mean, at most %d, tokenizer included, %s:"
        parts += [head % (mixed["texts"], mixed["tokens_mean"], mixed["tokens_max"], threads_title(mixed["threads"])), mixed_table(mixed)]
    return parts


def cells_parts(result):
    parts = []
    for threads in sorted({c["threads"] for c in result["cells"]}):
        found = cells_table(result, threads)
        if found:
            parts += ["%s:" % threads_title(threads), found]
    return parts


def one_part(wanted, make):
    return lambda result: [make(result)] if wanted(result) else []


# A run without a phase has no part of it; a part whose figures are not those that compare.py writes is an error that names it.
PARTS = (
    ("versions", one_part(lambda r: r["versions"], versions_line)),
    ("skipped", skipped_lines),
    ("cells", cells_parts),
    ("shapes", shape_parts),
    ("fp32", one_part(lambda r: r["accuracy"], fp32_table)),
    ("accuracy", one_part(lambda r: r["accuracy"], accuracy_table)),
    ("mixed", mixed_parts),
    ("sql", one_part(lambda r: r["sql"], lambda r: sql_table(r["sql"]))),
    ("sql", one_part(lambda r: r["sql"], lambda r: parallel_line(r["sql"]))),
    ("memory", one_part(lambda r: r["memory"], memory_table)),
    ("first_call_ms", one_part(lambda r: r["first_call_ms"], first_call_line)),
)


def markdown(result, name=None):
    parts = [machine_line(result, name)] + note_lines(result)
    for part, make in PARTS:
        try:
            parts += make(result)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError, OverflowError, statistics.StatisticsError) as e:
            raise recorded.BadFile("%s: the part %s is not what bench/run writes: %s %s" % (name or "the run", part, type(e).__name__, e)) from None
    return "\n\n".join(p for p in parts if p)


def full_tables(results):
    """For bench/README.md: all tables of each CPU."""
    return "\n\n".join("### %s\n\n%s" % (plain(machine.title(r["machine"], name)), markdown(r, name)) for name, r in results.items())


SHORT_HEAD = """Tokens per second of one thread, share of the CPU's int8 peak, and ratio to the fastest peer that is not less accurate than OpenVINO int8 (spread of the rounds):"""
SHORT_CELLS = ((1, 16), (1, 128), (1, 512), (32, 128))  # texts, tokens; all cells stand in bench/README.md


def short_cells(result):
    """{(texts, tokens): cell} of one thread"""
    found = {(c["batch"], c["tokens"]): c for c in result["cells"] if c["threads"] == 1 and c["shape"] == "small" and "embed-int8" in c["engines"]}
    return {key: found[key] for key in SHORT_CELLS if key in found}


def short_figures(result, cell):
    if cell is None:
        return ""
    figures = ["**%s**" % thousands(cell["engines"]["embed-int8"]["tokens_per_s"]), percent(share(result, cell, "embed-int8")), ratio_text(to_best_peer(result, cell))]
    return ", ".join(x for x in figures if x)


def short_table(results):
    """For the README: one thread, a row a CPU, a column a cell."""
    cells = {name: short_cells(result) for name, result in results.items()}
    wanted = [key for key in SHORT_CELLS if any(key in found for found in cells.values())]
    head = ["tokens x texts"] + ["%d x %d" % (tokens, batch) for batch, tokens in wanted] + ["measured"]
    rows = [[plain(machine.title(r["machine"], name))] + [short_figures(r, cells[name].get(key)) for key in wanted] + [short_line(r)] for name, r in results.items()]
    return "\n\n".join([SHORT_HEAD, table(head, rows)])


def short_line(result):
    """Where a row comes from, in short; bench/README.md has all of it."""
    parts = [plain(result["model"]), plain(result["time"][:10])] + (["level %s" % level(result)] if level(result) != "?" else [])
    return ", ".join(parts + [conditions(result)])


# --------------------------------------------------------------------- files

HERE = os.path.dirname(os.path.abspath(__file__))
PAGES = {"short": short_table, "full": full_tables}


def wrap(text):
    """Prose at 100 columns; rows of tables, code and lists stay as they are."""
    return "\n".join(line if line.startswith(("|", " ", "-")) else textwrap.fill(line, 100, break_long_words=False, break_on_hyphens=False) for line in text.split("\n"))


def page(text, path, results, picture):
    """The page at path with everything between its marks made anew."""
    link = "![tokens per second by length](%s)" % os.path.relpath(picture, os.path.dirname(os.path.abspath(path)))
    new, n = re.subn(
        r"(<!-- bench:(short|full) -->\n).*?(<!-- /bench -->)", lambda m: "%s%s\n\n%s\n%s" % (m[1], link, wrap(PAGES[m[2]](results)), m[3]), text, flags=re.S
    )
    if n == 0:
        raise recorded.BadFile("%s has no mark <!-- bench:NAME -->" % path)
    return new


def put_into(path, results, picture):
    with open(path) as f:
        text = f.read()
    new = page(text, path, results, picture)
    if new != text:
        with open(path, "w") as f:
            f.write(new)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("file", nargs="?")
    p.add_argument("--into", nargs="+", metavar="README")
    p.add_argument("--of", default=os.path.join(HERE, "results"), metavar="DIR")
    args = p.parse_args()
    if (args.file is None) == (args.into is None):
        p.error("either a file or --into")
    try:
        if args.file:
            print(markdown(recorded.load(args.file)))
        for page in args.into or []:
            put_into(page, recorded.load_all(args.of), os.path.join(HERE, "results.png"))
    except recorded.BadFile as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
