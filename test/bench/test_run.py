"""What bench/run refuses before it builds or asks anything."""
import os
import subprocess
import unittest

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench", "run")
SHAPES = "base, large, m3 and qwen"


class Shapes(unittest.TestCase):
    def refused(self, shapes, *wanted):
        # a run that is not refused is ended by the timeout, which is a failure
        run = subprocess.run(["bash", RUN, "--busy", "--shapes", shapes], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, 1, run.stdout)
        for text in wanted:
            self.assertIn(text, run.stderr)
        self.assertNotIn("Building", run.stdout)

    def test_the_given_model_is_no_shape(self):
        for shapes in ("small", "base,small", "small,qwen"):
            with self.subTest(shapes):
                self.refused(shapes, "--shapes small", "the given model", SHAPES)

    def test_unknown_names(self):
        for shapes, name in (("huge", "huge"), ("base,m4,qwen", "m4"), ("BASE", "BASE")):
            with self.subTest(shapes):
                self.refused(shapes, "--shapes %s: there is no such shape" % name, SHAPES)

    def test_twice(self):
        self.refused("base,qwen,base", "names base twice")
        self.refused("qwen,qwen", "names qwen twice")


if __name__ == "__main__":
    unittest.main()
