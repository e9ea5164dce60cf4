"""recorded.py: files of runs, as bench/results/ has them. What is read is checked first: the tables and the picture rest on it.

A file is what compare.py writes, of which engines and phases may be missing. A file "by_hand" holds a table that was written
down elsewhere: its cells have tokens a second and, ready made, the share of peak and the ratio to the best peer."""
import json
import math
import os
import re

MAX_BYTES = 16 << 20
DICTS = ("versions", "skipped", "accuracy", "peaks", "memory", "logits", "shapes", "sql")
LISTS = ("cells", "mixed", "first_call_ms")
MEASURED = ("ms", "tokens_per_s", "gops")


class BadFile(Exception):
    """What is wrong with a file of results; begins with its path."""


def is_number(x):
    return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)


def need(holds, what):
    if not holds:
        raise BadFile(what)


def check_positive(values, what):
    for x in values:
        need(is_number(x) and 0 < x < 1e15, "%s is %.40r, not a number above 0" % (what, x))


def check_text(value, what, longest=300):
    need(isinstance(value, str) and 0 < len(value) <= longest, "%s is %.40r, not a text of up to %d characters" % (what, value, longest))


def check_row(row, by_hand, what):
    need(isinstance(row, dict), "%s is no object" % what)
    wanted = ("tokens_per_s",) if by_hand else MEASURED
    check_positive([row.get(key) for key in wanted], "%s: one of %s" % (what, ", ".join(wanted)))
    rounds = row.get("round_ms", [])
    need(isinstance(rounds, list) and (by_hand or rounds), "%s: round_ms is no list of rounds" % what)
    check_positive(rounds, what + ": round_ms")


def check_cell(cell, by_hand, shapes):
    need(isinstance(cell, dict), "a cell is no object")
    sizes = [cell.get(key) for key in ("tokens", "batch", "threads")]
    what = "cell %s x %s, %s thread(s)" % tuple(sizes)
    need(all(isinstance(x, int) and not isinstance(x, bool) and 0 < x < 1 << 31 for x in sizes), "%.200s: sizes are whole numbers above 0" % what)
    need(cell.get("shape") in shapes, "%s: there is no shape %.40r" % (what, cell.get("shape")))
    need(isinstance(cell.get("engines"), dict), "%s has no engines" % what)
    for name, row in cell["engines"].items():
        check_row(row, by_hand, "%s: %s" % (what, name))
    need(by_hand or not {"of_peak", "to_best_peer"} & set(cell), "%s: only a table by hand has of_peak and to_best_peer ready made" % what)
    if "of_peak" in cell:
        check_positive([cell["of_peak"]], what + ": of_peak")
    ratio = cell.get("to_best_peer")
    if ratio is not None:
        need(isinstance(ratio, list) and len(ratio) in (1, 3), "%s: to_best_peer is [ratio] or [ratio, least, most]" % what)
        check_positive(ratio, what + ": to_best_peer")


def check_machine(m):
    need(isinstance(m, dict), "machine is no object")
    check_text(m.get("cpu"), "machine.cpu")
    m.setdefault("isa", [])
    m.setdefault("cpus", 0)
    m.setdefault("load", None)
    need(isinstance(m["isa"], list) and all(isinstance(x, str) for x in m["isa"]), "machine.isa is no list of names")
    need(isinstance(m["cpus"], int) and 0 <= m["cpus"] < 1 << 20, "machine.cpus is %.40r" % m["cpus"])
    need(m["load"] is None or (is_number(m["load"]) and m["load"] >= 0), "machine.load is %.40r" % m["load"])
    for key in ("family", "model", "stepping", "implementer", "part"):
        need(key not in m or (isinstance(m[key], int) and not isinstance(m[key], bool) and m[key] >= 0), "machine.%s is %.40r" % (key, m.get(key)))


def check_by_hand(result):
    need(isinstance(result["by_hand"], dict), "by_hand is no object")
    for key in ("source", "method"):
        check_text(result["by_hand"].get(key), "by_hand." + key, 2000)


def check(result):
    """Fills in what is missing; BadFile says what is wrong."""
    need(isinstance(result, dict), "there is no object in it")
    for key in DICTS:
        need(isinstance(result.setdefault(key, {}), dict), "%s is no object" % key)
    for key in LISTS:
        need(isinstance(result.setdefault(key, []), list), "%s is no list" % key)
    check_machine(result.get("machine"))
    check_text(result.get("model"), "model")
    check_text(result.get("time"), "time")
    need(re.match(r"\d{4}-\d\d-\d\d", result["time"]), "time is %.40r, which begins with no date" % result["time"])
    check_text(result.setdefault("clock", "wall"), "clock")
    if "note" in result:
        check_text(result["note"], "note", 2000)
    if "by_hand" in result:
        check_by_hand(result)
    need(result.get("load_after") is None or is_number(result["load_after"]), "load_after is %.40r" % result.get("load_after"))
    check_positive(result["peaks"].values(), "a peak")
    for shape in result["shapes"].values():
        need(isinstance(shape, dict), "a shape is no object")
        check_positive([shape.get(key) for key in ("hidden", "layers", "heads", "intermediate")], "a shape's size")
    for name, found in result["accuracy"].items():
        need(isinstance(found, dict) and is_number(found.get("mean")) and is_number(found.get("min")), "accuracy of %.40s has no mean and min" % name)
    for cell in result["cells"]:
        check_cell(cell, "by_hand" in result, result["shapes"])


def load(path):
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise BadFile("it has more than %d bytes" % MAX_BYTES)
        with open(path, encoding="utf-8") as f:
            result = json.load(f)
        check(result)
    except (OSError, ValueError, RecursionError, BadFile) as e:
        raise BadFile("%s: %s" % (path, e)) from None
    return result


def load_all(folder):
    """{name of the file without .json: result}, sorted by name"""
    names = sorted(name[:-5] for name in os.listdir(folder) if name.endswith(".json"))
    return {name: load(os.path.join(folder, name + ".json")) for name in names}


def write(result, f):
    """JSON, a line for each row of a cell: small, and readable in a diff."""
    text = json.dumps(result, separators=(", ", ": "))
    f.write(re.sub(r'(?<=[{\[,] )?("(?:shape|threads|embed-|ort-|ov-|torch-|llama-|cells|mixed|sql|memory|accuracy|machine|versions|skipped|logits|by_hand|note)[a-z0-9_-]*": [{\[])', r"\n\1", text) + "\n")
