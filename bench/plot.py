"""plot.py FILE.json OUT.png: tokens per second by length, one text and 32 texts a call, one thread."""
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from report import NAMES, peak

LINES = {
    "embed-int8": dict(color="#c0392b", linewidth=2.6, marker="o", zorder=9),
    "ov-int8-bf16": dict(color="#1f4e79", marker="s"),
    "ov-int8": dict(color="#5b9bd5", marker="s"),
    "ort-int8": dict(color="#70ad47", marker="^"),
    "torch-bf16": dict(color="#a569bd", marker="v"),
    "embed-fp32": dict(color="#c0392b", linewidth=1.6, marker="o", linestyle="--"),
    "ort-fp32": dict(color="#70ad47", marker="^", linestyle="--"),
    "torch-fp32": dict(color="#a569bd", marker="v", linestyle="--"),
    "llama-q8_0": dict(color="#7f7f7f", marker="x"),
}


def limit(result, tokens):
    """tokens per second if the dot product unit did nothing but this model's products"""
    s = result["shapes"]["small"]
    h, n, i = s["hidden"], s["layers"], s["intermediate"]
    return peak(result) * 1e9 / (2 * n * (4 * h * h + 2 * h * i) + 4 * tokens * h * n)


def draw(axes, result, batch):
    cells = [c for c in result["cells"] if c["threads"] == 1 and c["shape"] == "small" and c["batch"] == batch]
    cells.sort(key=lambda c: c["tokens"])
    for name, style in LINES.items():
        points = [(c["tokens"], c["engines"][name]["tokens_per_s"]) for c in cells if name in c["engines"]]
        if points:
            axes.plot(*zip(*points), label=NAMES[name], markersize=4, **{"linewidth": 1.3, **style})
    lengths = [c["tokens"] for c in cells]
    if lengths and peak(result):
        axes.plot(lengths, [limit(result, t) for t in lengths], color="black", linewidth=1, linestyle=":", label="limit of the int8 unit")
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [str(t) for t in lengths])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.set_title("one text a call" if batch == 1 else "%d texts a call" % batch, fontsize=10)
    axes.set_xlabel("tokens of a text")


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    result = json.load(open(sys.argv[1]))
    batches = sorted({c["batch"] for c in result["cells"] if c["threads"] == 1 and c["shape"] == "small"})
    figure, axes = plt.subplots(1, max(len(batches), 1), figsize=(9.5, 4.4), sharey=True, squeeze=False)
    for one, batch in zip(axes[0], batches):
        draw(one, result, batch)
    axes[0][0].set_ylabel("tokens per second, one thread")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=5, fontsize=8, frameon=False)
    figure.suptitle("%s on %s" % (result["model"], result["machine"]["cpu"]), fontsize=11)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(sys.argv[2], dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main()
