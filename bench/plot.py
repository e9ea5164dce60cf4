"""plot.py DIR OUT.png: tokens per second by length, one thread: a column of pictures a CPU, a row for one and for many texts a call."""
import sys
import textwrap

import machine
import recorded
from report import NAMES, conditions, peak

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
LIMIT = "limit of the int8 unit"
PAPER = "#ffffff"  # opaque, so that a dark page does not swallow the black text


def limit(result, tokens):
    """tokens per second if the dot product unit did nothing but this model's products; None where that is not known"""
    s = result["shapes"].get("small")
    if not s or not peak(result):
        return None
    h, n, i = s["hidden"], s["layers"], s["intermediate"]
    return peak(result) * 1e9 / (2 * n * (4 * h * h + 2 * h * i) + 4 * tokens * h * n)


def lines_of(result, batch):
    """{line: [(tokens, tokens per second)]} of one thread; engines that were not measured have no line"""
    cells = [c for c in result["cells"] if c["threads"] == 1 and c["shape"] == "small" and c["batch"] == batch]
    cells.sort(key=lambda c: c["tokens"])
    found = {name: [(c["tokens"], c["engines"][name]["tokens_per_s"]) for c in cells if name in c["engines"]] for name in LINES}
    found[LIMIT] = [(c["tokens"], limit(result, c["tokens"])) for c in cells if limit(result, c["tokens"])]
    return {name: points for name, points in found.items() if points}


def caption(result, name):
    """Date, CPU, load: what a reader needs before the figures mean anything."""
    m = result["machine"]
    cpu = machine.title(m, name)
    text = cpu if m["cpu"] in cpu else "%s (%s)" % (cpu, m["cpu"])
    return "%s: %s, %s%s" % (text, result["time"][:10], result["model"], ", " + conditions(result))


def draw(axes, lines, title):
    for name, points in lines.items():
        if name == LIMIT:
            axes.plot(*zip(*points), label=LIMIT, color="black", linewidth=1, linestyle=":")
        else:
            axes.plot(*zip(*points), label=NAMES[name], markersize=4, **{"linewidth": 1.3, **LINES[name]})
    axes.set_xscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda x, _: "{:,.0f}".format(x))
    axes.grid(alpha=0.25)
    axes.set_title(title, fontsize=10, parse_math=False)


def picture(results, path):
    """results: {name: result}, as recorded.load_all gives them"""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    batches = sorted({c["batch"] for r in results.values() for c in r["cells"] if lines_of(r, c["batch"])}) or [1]
    figure, axes = plt.subplots(len(batches), max(len(results), 1), figsize=(4.9 * max(len(results), 2), 3.1 * len(batches) + 1.5), sharex="col", sharey=True, squeeze=False)
    labels = {}
    for column, (name, result) in enumerate(results.items()):
        for row, batch in enumerate(batches):
            one = axes[row][column]
            draw(one, lines_of(result, batch), "%s, %s" % (machine.title(result["machine"], name), "one text a call" if batch == 1 else "%d texts a call" % batch))
            labels.update(zip(*reversed(one.get_legend_handles_labels())))
        axes[-1][column].set_xlabel("length of a text, tokens")
    lengths = sorted({tokens for r in results.values() for b in batches for points in lines_of(r, b).values() for tokens, _ in points})
    for one in axes.flat:
        one.set_xticks(lengths, [str(t) for t in lengths])
        one.minorticks_off()
    axes[0][0].set_ylim(bottom=0)  # they share it, so only after all are drawn
    for row in axes:
        row[0].set_ylabel("tokens per second, one thread")
    text = "\n".join(textwrap.fill(caption(r, name), 110, subsequent_indent="    ") for name, r in results.items())
    bottom = (0.22 * (text.count("\n") + 1) + 0.5) / figure.get_figheight()
    figure.text(0.01, 0.01, text, fontsize=8, va="bottom", parse_math=False)
    figure.legend(labels.values(), labels.keys(), loc="lower center", bbox_to_anchor=(0.5, bottom - 0.45 / figure.get_figheight()), ncol=5, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, bottom, 1, 1))
    figure.savefig(path, dpi=90, format="png", facecolor=PAPER, metadata={"Software": None})
    plt.close(figure)


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    try:
        picture(recorded.load_all(sys.argv[1]), sys.argv[2])
    except recorded.BadFile as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
