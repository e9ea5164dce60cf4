#!/usr/bin/env python3
"""check_report.py PAGE.html: whether a page of "embed-cli report" is well-formed and needs nothing but itself.

Read as XML and as HTML: both must see the same elements, all of them known, with attributes that load and run nothing. Numbers of
the pictures must lie in their frame. Of a BERT the share of peak must follow from tokens a second, sizes and peak. Prints the facts,
"head<TAB>cells"; ends with 1 and a message on a fault."""
import html.parser
import re
import sys
import xml.etree.ElementTree as ElementTree

ELEMENTS = set("html head meta title style body h1 h2 p pre div table thead tbody tr th td svg line polyline circle text".split())
ATTRIBUTES = set("xmlns lang charset http-equiv content name class viewBox width height role x y x1 x2 y1 y2 cx cy r fill points text-anchor".split())
ATTRIBUTES |= {"stroke", "stroke-width", "stroke-opacity", "stroke-dasharray"}


def need(holds, what):
    if not holds:
        sys.exit("check_report: %s" % what)


class Seen(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.elements, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        if tag != "meta":
            self.open.append(tag)
        for name, value in attributes:
            need(name in {a.lower() for a in ATTRIBUTES}, "attribute %s of %s" % (name, tag))
            need("://" not in value or name == "xmlns", "%s=%r of %s" % (name, value, tag))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag != "meta":
            self.open.pop()

    def handle_endtag(self, tag):
        need(self.open and self.open.pop() == tag, "</%s> closes another element" % tag)

    def handle_comment(self, data):
        need(False, "a comment: %r" % data)


def name_of(element):
    return element.tag.split("}")[-1]


def text_of(element):
    return "".join(element.itertext())


def check_picture(svg):
    width, height = (float(x) for x in svg.get("viewBox").split()[2:])
    for element in svg.iter():
        for key in ("x", "x1", "x2", "cx"):
            if element.get(key):
                need(0 <= float(element.get(key)) <= width, "%s=%s is outside of the picture" % (key, element.get(key)))
        for key in ("y", "y1", "y2", "cy"):
            if element.get(key):
                need(0 <= float(element.get(key)) <= height, "%s=%s is outside of the picture" % (key, element.get(key)))
        for point in (element.get("points") or "").split():
            x, y = map(float, point.split(","))
            need(0 <= x <= width and 0 <= y <= height, "a point %s is outside of the picture" % point)


def check_shares(facts, text):
    """Of an encoder like BERT: the same count of operations in other words."""
    peak = re.search(r"([0-9]+) GOPS a core", text)
    layers = re.match(r"(\d+) of hidden size (\d+), \d+ heads, intermediate size (\d+)", facts.get("layers", ""))
    n_threads, n_checked = 1, 0
    for head, cells in facts["rows"]:
        if re.match(r"\d+ thread", head):
            n_threads = int(head.split()[0])
        size = re.match(r"(\d+) tokens$", head)
        if not size or not peak or not layers or len(cells) < 3 or not cells[2]:
            continue
        n, h, i = map(int, layers.groups())
        tokens = int(size[1])
        done = (2 * n * (4 * h * h + 2 * h * i) + 4 * tokens * h * n) * float(cells[1])
        want = 100 * done / (float(peak[1]) * 1e9 * n_threads)
        need(abs(float(cells[2].split()[0]) - want) <= 0.06 + 0.02 * want, "%s: %s of peak is %.2f %%" % (head, cells[2], want))
        n_checked += 1
    return n_checked


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        page = f.read()
    root = ElementTree.fromstring(page)
    seen = Seen()
    seen.feed(page)
    seen.close()
    need(not seen.open, "%s stay open" % seen.open)
    elements = [name_of(e) for e in root.iter()]
    need(sorted(seen.elements) == sorted(x.lower() for x in elements), "HTML and XML see other elements")
    need(set(elements) <= ELEMENTS, "elements %s" % (set(elements) - ELEMENTS))
    need("default-src 'none'" in page, "no policy")
    text = text_of(root)
    need("nan" not in text.lower().split() and "inf" not in text.lower().split(), "a figure is not finite")
    facts = {"rows": []}
    for element in root.iter():
        if name_of(element) == "svg":
            check_picture(element)
        if name_of(element) == "tr":
            cells = [text_of(x) for x in element]
            facts["rows"].append((cells[0], cells[1:]))
            facts.setdefault(cells[0], " | ".join(cells[1:]))
            print("%s\t%s" % (cells[0], " | ".join(cells[1:])))
    if facts.get("family") == "bert" and facts.get("kind") == "embedding" and facts.get("precision") == "int8" and "GOPS a core" in text:
        need(check_shares(facts, text) > 0, "no share of peak")


if __name__ == "__main__":
    main()
