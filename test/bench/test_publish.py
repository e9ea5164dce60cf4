"""Names of CPUs, the files of bench/results/, the picture's lines, and the pages that bench/publish.py writes; no timing."""
import json
import os
import sys
import tempfile
import unittest

from test_report import a_run, by_hand

import machine
import plot
import publish
import recorded
import report

CPUINFO = """processor\t: 0
vendor_id\t: %s
cpu family\t: %d
model\t\t: %d
model name\t: %s
stepping\t: 1
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni

processor\t: 1
vendor_id\t: another
"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd40
"""
HERE = {"cpu": "a CPU", "isa": ["avx2"], "kernel": "6", "vendor": "AuthenticAMD", "family": 25, "model": 17, "cpus": 2, "load": 0.2}


def checked(result):
    recorded.check(result)
    return result


class Machine(unittest.TestCase):
    def test_slugs(self):
        for vendor, family, model, wanted, title in (
            ("AuthenticAMD", 25, 17, "amd-zen4", "AMD Zen 4"),
            ("AuthenticAMD", 25, 1, "amd-zen3", "AMD Zen 3"),
            ("AuthenticAMD", 25, 97, "amd-zen4", "AMD Zen 4"),
            ("AuthenticAMD", 26, 2, "amd-zen5", "AMD Zen 5"),
            ("GenuineIntel", 6, 207, "intel-emerald-rapids", "Intel Emerald Rapids"),
            ("GenuineIntel", 6, 143, "intel-sapphire-rapids", "Intel Sapphire Rapids"),
            ("GenuineIntel", 6, 999, "intel-family6-model999", "X 1"),
            ("Strange | Vendor", 1, 2, "strange-vendor-family1-model2", "X 1"),
        ):
            m = machine.describe(CPUINFO % (vendor, family, model, "X 1"))
            self.assertEqual(machine.slug(m), wanted)
            self.assertEqual(machine.title(m, wanted), title)
            self.assertTrue(machine.SLUG.match(wanted))
        self.assertEqual(machine.describe(CPUINFO % ("AuthenticAMD", 25, 17, "X 1"))["isa"], ["avx2", "avx512f", "avx512_vnni"])

    def test_arm64(self):
        m = machine.describe(ARM, "aarch64")
        self.assertEqual((m["cpu"], machine.slug(m)), ("aarch64", "arm-neoversev1"))
        m = machine.describe(ARM.replace("0xd40", "0xfff"), "aarch64")
        self.assertEqual(machine.slug(m), "arm64-41-fff")

    def test_unknown(self):
        for text in ("", "no colon\n", "model\t: 17\n", "cpu family: x\nvendor_id: y\nmodel: 99999999999999999999z\n"):
            self.assertIsNone(machine.slug(machine.describe(text, "z")))
        self.assertTrue(machine.here()["cpu"])

    def test_name_asked_for_is_the_title(self):
        self.assertEqual(machine.title({"cpu": "AMD EPYC"}, "amd-zen4"), "AMD Zen 4")
        self.assertEqual(machine.title({"cpu": "AMD EPYC"}, "my-laptop"), "my-laptop")

    def test_load(self):
        self.assertTrue(machine.is_quiet(0.99))
        self.assertFalse(machine.is_quiet(1.0) or machine.is_quiet(None))


class Picture(unittest.TestCase):
    def test_lines(self):
        result = a_run()
        found = plot.lines_of(result, 1)
        self.assertEqual([tokens for tokens, _ in found["embed-int8"]], [16, 128])
        self.assertNotIn("llama-q8_0", found)
        # 235 GOPS and 44.8 million operations a token
        self.assertAlmostEqual(found[plot.LIMIT][1][1] / 235e9 * 44.83e6, 1, 3)
        result["peaks"] = {}
        self.assertNotIn(plot.LIMIT, plot.lines_of(result, 1))

    def test_caption(self):
        result = a_run()
        self.assertEqual(plot.caption(result, "amd-zen4"), "AMD Zen 4 (a CPU): 2026-11-21, a model, quiet machine (load 0.1 before the run)")
        result["machine"]["load"] = 3
        self.assertIn("not a quiet machine: load 3.0", plot.caption(result, "amd-zen4"))
        self.assertIn("a table entered by hand", plot.caption(checked(by_hand()), "intel-x"))

    def test_drawn(self):
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            self.skipTest("no matplotlib: the picture is not drawn")
        empty = a_run()
        empty["cells"] = []
        for results in ({"amd-zen4": a_run(), "intel-x": checked(by_hand())}, {"amd-zen4": a_run()}, {"x": empty}, {}):
            with tempfile.NamedTemporaryFile(suffix=".png") as f:
                plot.picture(results, f.name)
                data = f.read()
                self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
                self.assertGreater(len(data), 5000)


class Publish(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.top = self.folder.name
        os.mkdir(os.path.join(self.top, "bench"))
        self.write("README.md", "before\n<!-- bench:short -->\nold\n<!-- /bench -->\nbehind\n")
        self.write("bench/README.md", "before\n<!-- bench:full -->\nold\n<!-- /bench -->\nbehind\n")

    def tearDown(self):
        self.folder.cleanup()

    def path(self, name):
        return os.path.join(self.top, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)

    def read(self, name):
        with open(self.path(name)) as f:
            return f.read()

    def publish(self, result, **options):
        self.write("run.json", json.dumps(result))
        return publish.publish(self.path("run.json"), self.top, here=HERE, draw=self.draw, **options)

    def draw(self, results, file):
        file.write(", ".join(results).encode())

    def test_two_cpus_stay_side_by_side(self):
        first = a_run()
        first["machine"].update(vendor="GenuineIntel", family=6, model=207)
        self.assertEqual(self.publish(first), "intel-emerald-rapids")
        self.assertEqual(self.publish(a_run()), "amd-zen4")  # its numbers are those of HERE: the same machine
        self.assertEqual(self.read("bench/results.png"), "amd-zen4, intel-emerald-rapids")
        for page, wanted in (("README.md", "| Intel Emerald Rapids | "), ("bench/README.md", "### Intel Emerald Rapids")):
            text = self.read(page)
            for kept in ("before", "behind", wanted, "AMD Zen 4"):
                self.assertIn(kept, text)
            self.assertNotIn("old", text)
            self.assertEqual(text.count("results.png"), 1)
            self.assertLessEqual(max(len(line) for line in text.splitlines() if not line.startswith("|")), 100)
        self.assertIn("(bench/results.png)", self.read("README.md"))
        self.assertIn("(results.png)", self.read("bench/README.md"))
        self.assertEqual(recorded.load(self.path("bench/results/amd-zen4.json"))["machine"]["model"], 17)

    def test_again(self):
        self.publish(a_run(), note="a remark")
        once = [self.read(name) for name in ("README.md", "bench/README.md", "bench/results/amd-zen4.json")]
        self.assertIn("a remark", once[1])
        publish.publish(self.path("bench/results/amd-zen4.json"), self.top, here={}, draw=self.draw)
        self.assertEqual(once, [self.read(name) for name in ("README.md", "bench/README.md", "bench/results/amd-zen4.json")])
        self.publish(a_run())
        self.assertNotIn("a remark", self.read("bench/README.md"))

    def test_names(self):
        self.assertEqual(self.publish(a_run(), cpu="my-box.2"), "my-box.2")
        other = a_run()
        other["machine"]["kernel"] = "7"
        for options in ({}, {"cpu": "../x"}, {"cpu": "a b"}, {"cpu": "X"}, {"cpu": "-"}, {"cpu": "a" * 65}):
            with self.assertRaises(recorded.BadFile):
                self.publish(other, **options)
        self.assertEqual(os.listdir(self.path("bench/results")), ["my-box.2.json"])

    def test_nothing_is_written_of_a_bad_file(self):
        self.publish(a_run())
        before = {name: self.read(name) for name in ("README.md", "bench/README.md", "bench/results.png", "bench/results/amd-zen4.json")}
        bad = a_run()
        bad["sql"] = {"texts": 1}
        with self.assertRaises(recorded.BadFile):
            self.publish(bad)
        self.write("bench/results/other.json", "{}")
        with self.assertRaises(recorded.BadFile) as caught:
            self.publish(a_run())
        self.assertIn("other.json", str(caught.exception))
        self.assertEqual(before, {name: self.read(name) for name in before})

    def test_page_without_marks(self):
        self.write("README.md", "no marks\n")
        with self.assertRaises(recorded.BadFile) as caught:
            self.publish(a_run())
        self.assertIn("has no mark", str(caught.exception))
        self.assertFalse(os.path.exists(self.path("bench/results.png")))


class ThisTree(unittest.TestCase):
    """The pages hold what the generator makes of the files that lie there."""

    def test_pages_are_up_to_date(self):
        results = recorded.load_all(os.path.join(publish.TOP, "bench", "results"))
        for page in publish.PAGES:
            path = os.path.join(publish.TOP, page)
            with open(path) as f:
                text = f.read()
            made = report.page(text, path, results, os.path.join(publish.TOP, "bench", "results.png"))
            self.assertEqual(text, made, "bench/run --publish bench/results/<one of them>.json was not run")


if __name__ == "__main__":
    unittest.main()
