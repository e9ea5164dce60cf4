"""live.py: what a run prints while it measures."""
from report import DECODERS, first_call_line, is_peer, parallel_line, peak, ratio, share, sql_overheads


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
        if share(result, cell, name) is not None:
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
