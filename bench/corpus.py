"""Documents of exact lengths for the benchmarks, from text that every Debian machine has.

Words of a BERT text are tokenized one by one, so the tokens of every distinct word, asked once of embed-cli, give documents
with an exact number of tokens, with the same ids for every engine and the text for SQL."""
import glob
import os
import random
import re
import subprocess


def descriptions():
    """Package descriptions, else this project's own pages."""
    texts = []
    try:
        status = open("/var/lib/dpkg/status", errors="replace").read()
    except OSError:
        status = ""
    for record in status.split("\n\n"):
        found = re.search(r"^Description: (.*(?:\n .*)*)", record, re.M)
        if found:
            texts.append(" ".join(line.strip(" .") for line in found.group(1).split("\n")))
    if sum(map(len, texts)) < 50000:
        top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
        for path in glob.glob(top + "/*.md") + glob.glob(top + "/*/*.md"):
            texts += open(path).read().split("\n\n")
    texts.sort()
    random.Random(7).shuffle(texts)
    return texts


class Corpus:
    def __init__(self, cli, image):
        self.cli, self.image = cli, image
        self.words = [w for w in re.findall(r"[A-Za-z0-9,.:()'-]+", " ".join(descriptions())) if len(w) <= 40]
        distinct = sorted(set(self.words) | {"the", ""})
        lines = "".join(w + "\n" for w in distinct)
        out = subprocess.run([cli, "tokenize", image, "-"], input=lines, capture_output=True, text=True, check=True).stdout
        ids = [[int(x) for x in line.split()] for line in out.splitlines()]
        if len(ids) != len(distinct):
            raise SystemExit("corpus: %d lines of ids for %d words" % (len(ids), len(distinct)))
        self.ids = {w: x[1:-1] for w, x in zip(distinct, ids)}
        self.first, self.last = ids[0][0], ids[0][-1]

    def counts(self, texts):
        """tokens of each text, special ones included"""
        out = subprocess.run([self.cli, "tokenize", self.image, "-"], input="".join(t + "\n" for t in texts), capture_output=True, text=True, check=True).stdout
        return [len(line.split()) for line in out.splitlines()]

    def document(self, tokens, at):
        """(text, ids) with this number of tokens, special tokens included, starting at word number at"""
        words, ids = [], []
        while len(ids) < tokens - 2:
            word = self.words[at % len(self.words)]
            at += 1
            if len(ids) + len(self.ids[word]) > tokens - 2:
                word = "the"
            words.append(word)
            ids += self.ids[word]
        return " ".join(words), [self.first] + ids + [self.last]

    def documents(self, tokens, n, seed=0):
        return [self.document(tokens, (seed + i) * 211) for i in range(n)]
