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
import report


def row(ms, round_ms, tokens):
    return {"ms": ms, "ms_min": ms, "calls": 9, "tokens_per_s": tokens / ms * 1e3, "gops": 45 * tokens / ms * 1e-3, "cores": 1.0, "round_ms": round_ms}


def recorded():
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


def recorded_decoder():
    """A run of the shape qwen alone; ours in int4 is compared with the peers of 4 bits."""
    result = recorded()
    times = {"embed-int8": [200, 220, 210], "embed-int4": [250, 240, 220], "ov-decoder-int8": [300, 330, 420], "ov-decoder-int4": [500, 240, 440], "llama-decoder-q4_0": [1000, 960, 880]}
    engines = {name: row(sorted(ms)[1], ms, 128) for name, ms in times.items()}
    result.update(cells=[{"shape": "qwen", "tokens": 128, "batch": 1, "threads": 2, "engines": engines}], mixed=[], sql={}, memory={}, first_call_ms=[], accuracy={})
    result["shapes"]["qwen"] = {"hidden": 1024, "layers": 28, "heads": 16, "kv_heads": 8, "head_size": 128, "intermediate": 3072}
    result["logits"] = {"qwen": {"embed-int8": 1.0, "ov-decoder-int8": 0.998}}
    return result


class Report(unittest.TestCase):
    def test_decoder(self):
        text = report.markdown(recorded_decoder())
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
        result = recorded()
        engines = result["cells"][0]["engines"]
        self.assertEqual(report.best_peer(result, engines), "ov-int8")
        del result["accuracy"]["ov-int8"], engines["ov-int8"]
        self.assertEqual(report.best_peer(result, engines), "ov-int8-bf16")

    def test_spread_is_of_the_rounds_own_ratios(self):
        ratio, least, most = report.ratio(recorded()["cells"][0], "embed-int8", "ov-int8")
        self.assertAlmostEqual(ratio, 1.5)
        self.assertAlmostEqual(least, 1.4)
        self.assertAlmostEqual(most, 2.0)

    def test_share_of_peak_counts_threads(self):
        result = recorded()
        one, two = (next(c for c in result["cells"] if c["threads"] == t and c["tokens"] == 128) for t in (1, 2))
        self.assertAlmostEqual(report.share(result, one, "embed-int8"), 2 * report.share(result, two, "embed-int8"))

    def test_overheads(self):
        over = {what: o for what, _, o in report.sql_overheads(recorded()["sql"]) if o is not None}
        self.assertAlmostEqual(over["`SELECT embed(body) FROM t`"], 0.03)
        self.assertAlmostEqual(over["`embed(text[])`"], 91 / 90 - 1)

    def test_tables(self):
        text = report.markdown(recorded())
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
        result = recorded()
        result.update(mixed=[], sql={}, memory={}, first_call_ms=[], accuracy={n: a for n, a in result["accuracy"].items() if n != "ov-int8"})
        for cell in result["cells"]:
            cell["engines"] = {n: r for n, r in cell["engines"].items() if n in ("embed-int8", "ort-int8")}
        self.assertIn("16 x 1", report.markdown(result))
        self.assertIn("16 x 1", report.short_table(result))

    def test_written_json_reads_back(self):
        result, f = recorded(), io.StringIO()
        report.write(result, f)
        self.assertEqual(json.loads(f.getvalue()), json.loads(json.dumps(result)))

    def read(self, path):
        with open(path) as f:
            return f.read()

    def test_pages(self):
        with tempfile.NamedTemporaryFile("w", suffix=".md") as page:
            page.write("before\n<!-- bench:short -->\nold\n<!-- /bench -->\nbetween\n<!-- bench:full -->\n<!-- /bench -->\nbehind\n")
            page.flush()
            report.put_into(page.name, recorded())
            once = self.read(page.name)
            report.put_into(page.name, recorded())
            self.assertEqual(once, self.read(page.name))
            self.assertNotIn("old", once)
            for kept in ("before", "between", "behind", "1.50x"):
                self.assertIn(kept, once)

    def test_recorded_run_of_this_tree(self):
        path = os.path.join(BENCH, "results.json")
        if not os.path.exists(path):
            self.skipTest("no run is recorded")
        self.assertIn("tokens x texts", report.markdown(json.loads(self.read(path))))


if __name__ == "__main__":
    unittest.main()
