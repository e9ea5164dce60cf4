"""Tables and files that bench/report.py makes of a recorded run; no timing, nothing but Python."""
import io
import json
import os
import sys
import tempfile
import unittest

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench")
sys.path.insert(0, BENCH)
sys.dont_write_bytecode = True
import recorded
import report


def row(ms, round_ms, tokens):
    return {"ms": ms, "ms_min": ms, "calls": 9, "tokens_per_s": tokens / ms * 1e3, "gops": 45 * tokens / ms * 1e-3, "cores": 1.0, "round_ms": round_ms}


def a_run():
    """ort-int8 is the fastest peer but less accurate than OpenVINO; torch is slow."""
    cells = []
    for tokens, batch, threads in ((16, 1, 1), (128, 1, 1), (128, 32, 1), (128, 1, 2)):
        n = tokens * batch
        times = {"embed-int8": [10, 10, 20], "embed-fp32": [40, 40, 40], "ort-int8": [11, 11, 11], "ov-int8": [15, 14, 40], "ov-int8-bf16": [16, 16, 16], "ort-fp32": [50, 50, 50], "torch-fp32": [90, 90, 90]}
        engines = {name: row(sorted(ms)[1], ms, n) for name, ms in times.items()}
        cells.append({"shape": "small", "tokens": tokens, "batch": batch, "threads": threads, "engines": engines})
    mixed = {"embed-int8": {"one": {"first_per_s": 90, "texts_per_s": 100}}, "ov-int8": {"one": {"first_per_s": 20, "texts_per_s": 50}, "sorted8": {"first_per_s": 30, "texts_per_s": 40}}}
    passes = {"embed-int8 one": [100, 100], "embed-sql one": [102, 102], "embed-sql select": [103, 103], "embed-int8 all": [90, 90], "embed-sql all": [91, 91], "embed-sql agg": [92, 92]}
    return {
        "machine": {"cpu": "a CPU", "cpus": 2, "isa": ["avx2"], "kernel": "6", "load": 0.1},
        "model": "a model", "clock": "wall", "time": "2026-11-21 10:00", "rounds": 3, "seconds": 0.4, "load_after": 0.2,
        "versions": {"embed-int8": "embed 0.1.0 int8, level avx2", "ov-int8": "openvino 1-releases/1", "ort-int8": "onnxruntime 1"},
        "skipped": {"llama-q8_0": "llama.cpp is not installed"},
        "peaks": {"avx2": 235.0},
        "reference": "torch-fp32", "accuracy_documents": 9,
        "accuracy": {"torch-fp32": {"mean": 1, "min": 1}, "ort-fp32": {"mean": 1, "min": 1}, "embed-int8": {"mean": 0.9997, "min": 0.999}, "embed-fp32": {"mean": 1, "min": 1}, "ort-int8": {"mean": 0.9978, "min": 0.99}, "ov-int8": {"mean": 0.9987, "min": 0.99}, "ov-int8-bf16": {"mean": 0.9986, "min": 0.99}},
        "shapes": {"small": {"hidden": 384, "layers": 12, "heads": 12, "intermediate": 1536}},
        "cells": cells,
        "mixed": [{"threads": 1, "texts": 2, "tokens_mean": 90.0, "tokens_max": 300, "engines": mixed}],
        "sql": {"tokens": 128, "texts": 10, "passes_ms": passes, "parallel_ms": [[100, 52], [100, 50]]},
        "memory": {"nothing": {"processes": 4, "pss_mb": 50, "private_mb": 45, "start_s": 0.1}, "embed-int8": {"processes": 4, "pss_mb": 12, "private_mb": 3, "start_s": 0.01}, "ov-int8": {"processes": 4, "pss_mb": 170, "private_mb": 160, "start_s": 0.9}},
        "first_call_ms": [3.0, 3.5, 9.0],
    }


def a_decoders_run():
    """A run of the shape qwen alone; ours in int4 is compared with the peers of 4 bits."""
    result = a_run()
    times = {"embed-int8": [200, 220, 210], "embed-int4": [250, 240, 220], "ov-decoder-int8": [300, 330, 420], "ov-decoder-int4": [500, 240, 440], "llama-decoder-q4_0": [1000, 960, 880]}
    engines = {name: row(sorted(ms)[1], ms, 128) for name, ms in times.items()}
    result.update(cells=[{"shape": "qwen", "tokens": 128, "batch": 1, "threads": 2, "engines": engines}], mixed=[], sql={}, memory={}, first_call_ms=[], accuracy={})
    result["shapes"]["qwen"] = {"hidden": 1024, "layers": 28, "heads": 16, "kv_heads": 8, "head_size": 128, "intermediate": 3072}
    result["logits"] = {"qwen": {"embed-int8": 1.0, "ov-decoder-int8": 0.998}}
    return result


class Report(unittest.TestCase):
    def test_decoder(self):
        text = report.markdown(a_decoders_run())
        for wanted in (
            "16 and 8 heads of 128",
            "| 128, 2 | ",
            "0.92 of int8",  # the median of 200 / 250, 220 / 240, 210 / 220
            "**1.50x (1.50 to 2.00)**",  # OpenVINO int8 to ours in int8
            "**2.00x (1.00 to 2.00)**",  # OpenVINO int4 to ours in int4
            "**4.00x (4.00 to 4.00)**",
            "embed int8's: OpenVINO int8 0.9980.",
        ):
            self.assertIn(wanted, text)

    def test_best_peer_is_no_less_accurate(self):
        result = a_run()
        engines = result["cells"][0]["engines"]
        self.assertEqual(report.best_peer(result, engines), "ov-int8")
        del result["accuracy"]["ov-int8"], engines["ov-int8"]
        self.assertEqual(report.best_peer(result, engines), "ov-int8-bf16")

    def test_spread_is_of_the_rounds_own_ratios(self):
        ratio, least, most = report.ratio(a_run()["cells"][0], "embed-int8", "ov-int8")
        self.assertAlmostEqual(ratio, 1.5)
        self.assertAlmostEqual(least, 1.4)
        self.assertAlmostEqual(most, 2.0)

    def test_share_of_peak_counts_threads(self):
        result = a_run()
        one, two = (next(c for c in result["cells"] if c["threads"] == t and c["tokens"] == 128) for t in (1, 2))
        self.assertAlmostEqual(report.share(result, one, "embed-int8"), 2 * report.share(result, two, "embed-int8"))

    def test_overheads(self):
        over = {what: o for what, _, o in report.sql_overheads(a_run()["sql"]) if o is not None}
        self.assertAlmostEqual(over["`SELECT embed(body) FROM t`"], 0.03)
        self.assertAlmostEqual(over["`embed(text[])`"], 91 / 90 - 1)

    def test_tables(self):
        text = report.markdown(a_run())
        for wanted in (
            "**1.50x (1.40 to 2.00)**",  # to the best peer
            "Not measured: llama.cpp Q8_0",
            "| embed int8 | 100.0 | one by one | 90.0 |  |",
            "| OpenVINO int8 | 50.0 | one by one | 20.0 | 2.00x |",
            "| OpenVINO int8 | 120 MB | 0.90 s |",  # without the harness
            "median of 3 3.5 ms, 3.0 to 9.0 ms",
            "1.96 times as fast",
            "2 threads:",
        ):
            self.assertIn(wanted, text)

    def test_quick_run(self):
        """Without SQL, memory, shapes and most engines."""
        result = a_run()
        result.update(mixed=[], sql={}, memory={}, first_call_ms=[], accuracy={n: a for n, a in result["accuracy"].items() if n != "ov-int8"})
        for cell in result["cells"]:
            cell["engines"] = {n: r for n, r in cell["engines"].items() if n in ("embed-int8", "ort-int8")}
        self.assertIn("16 x 1", report.markdown(result))
        self.assertIn("16 x 1", report.short_table({"a": result}))

    def test_written_json_reads_back(self):
        result, f = a_run(), io.StringIO()
        recorded.write(result, f)
        self.assertEqual(json.loads(f.getvalue()), json.loads(json.dumps(result)))

    def test_interrupted_run(self):
        """What a run has written before its first cell, and with no engine of ours in a cell."""
        result = a_run()
        for key in ("cells", "mixed", "sql", "memory", "first_call_ms", "accuracy", "skipped", "versions", "reference", "load_after", "logits"):
            result.pop(key, None)
        recorded.check(result)
        self.assertIn("measured peak of a core 235 GOPS", report.markdown(result))
        result = a_run()
        del result["cells"][0]["engines"]["embed-int8"]
        self.assertNotIn("16 x 1", report.short_table({"a": result}))

    def test_engine_of_one_cell_only(self):
        result = a_run()
        result["cells"][1]["engines"]["llama-q8_0"] = row(100, [100, 100, 100], 128)
        self.assertIn("| llama.cpp Q8_0 |", report.markdown(result))

    def test_load_stands_in_the_caption(self):
        result = a_run()
        self.assertIn("quiet machine (load 0.1 before the run)", report.machine_line(result))
        result["machine"]["load"] = 1.0
        self.assertIn("not a quiet machine: load 1.0 before the run", report.machine_line(result))
        result["machine"]["load"] = None
        self.assertIn("load before the run unknown", report.machine_line(result))
        self.assertIn("| a model, 2026-11-21, level avx2, load before the run unknown |", report.short_table({"x": result}))

    def test_two_cpus(self):
        other = a_run()
        other["cells"] = [c for c in other["cells"] if c["tokens"] == 16]
        text = report.short_table({"amd-zen4": a_run(), "intel-emerald-rapids": other})
        self.assertIn("| tokens x texts | 16 x 1 | 128 x 1 | 128 x 32 | measured |", text)
        self.assertIn("| AMD Zen 4 | **1,600**, 0 %, 1.50x (1.40 to 2.00) | **12,800**, 0 %, 1.50x (1.40 to 2.00) | **409,600**, 8 %, 1.50x (1.40 to 2.00) | a model, 2026-11-21, level avx2, quiet machine (load 0.1 before the run) |", text)
        self.assertIn("| Intel Emerald Rapids | **1,600**, 0 %, 1.50x (1.40 to 2.00) |  |  | a model,", text)
        full = report.full_tables({"amd-zen4": a_run(), "intel-emerald-rapids": other})
        self.assertLess(full.index("### AMD Zen 4"), full.index("### Intel Emerald Rapids"))

    def test_table_by_hand(self):
        result = by_hand()
        recorded.check(result)
        text = report.short_table({"intel-x": result})
        self.assertIn("| tokens x texts | 16 x 1 | 128 x 1 | measured |", text)
        self.assertIn("| intel-x | **9,953**, 57 %, 1.62x (1.60 to 1.65) | **11,003**, 1.62x | a model, 2026-11-29, a table entered by hand |", text)
        self.assertNotIn("11,741", text)  # no cell of the README
        full = report.full_tables({"intel-x": result})
        self.assertIn("**Entered by hand:** a table from there this way", full)
        self.assertIn("6,106: 1.63x", full)

    def test_names_of_files_are_text(self):
        """Nothing of a file becomes a mark of the page, a column or HTML."""
        result = a_run()
        result["machine"]["cpu"] = "a | b <!-- /bench -->\n# c <script>"
        result["skipped"] = {"<b>x|y": "no *stars* `code`\nsecond line"}
        result["versions"]["ov-int8"] = "1 | 2"
        result["cells"][0]["engines"]["a|b"] = row(100, [100, 100, 100], 16)
        for text in (report.markdown(result), report.short_table({"x": result})):
            self.assertNotIn("<!--", text)
            self.assertNotIn("<script>", text)
            self.assertNotIn("\n# c", text)
        text = report.markdown(result)
        self.assertIn("| a\\|b |", text)
        self.assertIn("<b>x\\|y (no \\*stars\\* \\`code\\`)".replace("<b>", "&lt;b&gt;"), text)
        self.assertIn("1 \\| 2", text)

    def test_recorded_runs_of_this_tree(self):
        results = recorded.load_all(os.path.join(BENCH, "results"))
        self.assertIn("amd-zen4", results)
        self.assertIn("tokens x texts", report.full_tables(results))
        self.assertIn("| tokens x texts | 16 x 1 | 128 x 1 | 512 x 1 | 128 x 32 |", report.short_table(results))


def by_hand():
    cells = [
        {"shape": "small", "tokens": 16, "batch": 1, "threads": 1, "of_peak": 0.57, "to_best_peer": [1.62, 1.6, 1.65], "engines": {"embed-int8": {"tokens_per_s": 9953}, "ov-int8": {"tokens_per_s": 6106}}},
        {"shape": "small", "tokens": 64, "batch": 1, "threads": 1, "to_best_peer": [1.55], "engines": {"embed-int8": {"tokens_per_s": 11741}}},
        {"shape": "small", "tokens": 128, "batch": 1, "threads": 1, "to_best_peer": [1.62], "engines": {"embed-int8": {"tokens_per_s": 11003}}},
    ]
    return {
        "by_hand": {"source": "a table from there", "method": "this way"},
        "machine": {"cpu": "a Xeon"}, "model": "a model", "time": "2026-11-29", "cells": cells,
        "shapes": {"small": {"hidden": 384, "layers": 12, "heads": 12, "intermediate": 1536}},
    }


class Files(unittest.TestCase):
    """Files of results are checked as they are read: each fault is named, with the file, and none is a traceback."""

    def refused(self, change, wanted, make=a_run):
        result = make()
        change(result)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            json.dump(result, f)
            f.flush()
            with self.assertRaises(recorded.BadFile) as caught:
                report.markdown(recorded.load(f.name), f.name)
            self.assertIn(f.name, str(caught.exception))
            self.assertIn(wanted, str(caught.exception))

    def test_faults_are_named(self):
        def cell(r):
            return r["cells"][0]

        def ours(r):
            return cell(r)["engines"]["embed-int8"]

        for change, wanted in (
            (lambda r: r.pop("machine"), "machine is no object"),
            (lambda r: r["machine"].update(cpu=""), "machine.cpu is ''"),
            (lambda r: r["machine"].update(cpu=["x"]), "machine.cpu is ['x']"),
            (lambda r: r["machine"].update(load="low"), "machine.load is 'low'"),
            (lambda r: r["machine"].update(load=float("nan")), "machine.load is nan"),
            (lambda r: r["machine"].update(family="6"), "machine.family is '6'"),
            (lambda r: r.update(time="yesterday"), "time is 'yesterday'"),
            (lambda r: r.pop("model"), "model is None"),
            (lambda r: r.update(cells={}), "cells is no list"),
            (lambda r: r.update(cells=[7]), "a cell is no object"),
            (lambda r: r.update(peaks={"avx2": 0}), "a peak is 0"),
            (lambda r: r.update(accuracy={"x": {"mean": "1"}}), "accuracy of x has no mean and min"),
            (lambda r: r.update(shapes={}), "there is no shape 'small'"),
            (lambda r: r["shapes"]["small"].update(layers=0), "a shape's size is 0"),
            (lambda r: cell(r).update(tokens="16"), "sizes are whole numbers above 0"),
            (lambda r: cell(r).update(threads=True), "sizes are whole numbers above 0"),
            (lambda r: cell(r).pop("engines"), "has no engines"),
            (lambda r: cell(r).update(to_best_peer=[9.9]), "only a table by hand"),
            (lambda r: ours(r).update(tokens_per_s=-1), "is -1, not a number above 0"),
            (lambda r: ours(r).update(tokens_per_s=float("inf")), "is inf, not a number above 0"),
            (lambda r: ours(r).pop("gops"), "is None, not a number above 0"),
            (lambda r: ours(r).update(round_ms=[]), "round_ms is no list of rounds"),
            (lambda r: ours(r).update(round_ms=[1, 0]), "round_ms is 0"),
            (lambda r: r["sql"].pop("texts"), "the part sql is not what bench/run writes"),
            (lambda r: r["sql"]["passes_ms"].update({"embed-int8 one": [0]}), "the part sql is not what bench/run writes"),
            (lambda r: r["memory"].update(x={}), "the part memory is not what bench/run writes"),
            (lambda r: r.update(mixed=[{}]), "the part mixed is not what bench/run writes"),
            (lambda r: r.update(first_call_ms=["x"]), "the part first_call_ms is not what bench/run writes"),
        ):
            with self.subTest(wanted):
                self.refused(change, wanted)

    def test_faults_of_tables_by_hand_are_named(self):
        for change, wanted in (
            (lambda r: r.update(by_hand={}), "by_hand.source is None"),
            (lambda r: r["cells"][0].update(to_best_peer=[1, 2]), "to_best_peer is [ratio] or [ratio, least, most]"),
            (lambda r: r["cells"][0].update(of_peak=0), "of_peak is 0"),
        ):
            with self.subTest(wanted):
                self.refused(change, wanted, by_hand)

    def test_no_json(self):
        for text in ("", "{", "[]", "7", "[" * 100000, "\xff"):
            with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="latin-1") as f:
                f.write(text)
                f.flush()
                with self.assertRaises(recorded.BadFile) as caught:
                    recorded.load(f.name)
                self.assertIn(f.name, str(caught.exception))
        with self.assertRaises(recorded.BadFile):
            recorded.load("/nowhere/x.json")


if __name__ == "__main__":
    unittest.main()
