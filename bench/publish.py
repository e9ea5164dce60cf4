"""publish.py FILE.json [--cpu NAME] [--note TEXT]: a run becomes bench/results/NAME.json, where one file a CPU lies; then the
picture and the tables of the READMEs are made of all of them. NAME is told by the CPU's numbers, amd-zen4 for example.

Nothing is written before everything is made."""
import argparse
import io
import os
import sys

import machine
import recorded
import report

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
PAGES = ("README.md", os.path.join("bench", "README.md"))


def same_machine(a, b):
    return all(a.get(key) == b.get(key) for key in ("cpu", "isa", "kernel"))


def name_of(path, result, folder, asked, here):
    """Name of the file in folder. A run of before its numbers were recorded takes them from this machine, if it is the same."""
    m = result["machine"]
    if asked:
        name = asked
    elif os.path.realpath(os.path.dirname(os.path.abspath(path))) == os.path.realpath(folder):
        name = os.path.basename(path)[: -len(".json")]
    else:
        if machine.slug(m) is None and same_machine(m, here):
            m.update({key: here[key] for key in ("vendor", "family", "model", "stepping", "implementer", "part") if key in here})
        name = machine.slug(m)
    if name is None:
        raise recorded.BadFile("%s does not say which CPU %s is: name it, --cpu amd-zen4 for example" % (path, m["cpu"]))
    if not machine.SLUG.match(name):
        raise recorded.BadFile("%.80r is no name of a CPU: small letters, digits, \".\" and \"-\", at most 64" % name)
    return name


def replace(path, data):
    with open(path + ".tmp", "wb") as f:
        f.write(data)
    os.replace(path + ".tmp", path)


def publish(path, top=TOP, cpu=None, note=None, here=None, draw=None):
    """Returns the name. draw(results, file): the picture, plot.picture by default."""
    folder, picture = os.path.join(top, "bench", "results"), os.path.join(top, "bench", "results.png")
    result = recorded.load(path)
    name = name_of(path, result, folder, cpu, here or machine.here())
    if note is not None:
        result["note"] = note
        recorded.check(result)
    os.makedirs(folder, exist_ok=True)
    results = {**recorded.load_all(folder), name: result}
    results = {key: results[key] for key in sorted(results)}
    pages = {os.path.join(top, name): None for name in PAGES}
    for one in pages:
        with open(one) as f:
            pages[one] = report.page(f.read(), one, results, picture)
    if draw is None:
        import plot

        draw = plot.picture
    png, text = io.BytesIO(), io.StringIO()
    draw(results, png)
    recorded.write(result, text)
    replace(os.path.join(folder, name + ".json"), text.getvalue().encode())
    replace(picture, png.getvalue())
    for one, made in pages.items():
        with open(one, "w") as f:
            f.write(made)
    return name


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("file")
    p.add_argument("--cpu")
    p.add_argument("--note")
    args = p.parse_args()
    try:
        name = publish(args.file, cpu=args.cpu, note=args.note)
    except recorded.BadFile as e:
        sys.exit(str(e))
    print("bench/results/%s.json, bench/results.png, README.md, bench/README.md" % name)


if __name__ == "__main__":
    main()
