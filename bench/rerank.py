"""rerank.py documents CLI IMAGE N TOKENS QUERY OUT     N documents of about this number of tokens, tab-separated: number, text
rerank.py core CLI IMAGE WORKER WORK DOCUMENTS QUERY LOGITS ROUNDS REALTIME
    the same pairs in the core, the start that they share computed once and not, in turns; LOGITS: those of the statements, as SQL
    printed them, number and logit. Fails where one bit differs, or where sharing gains less than it should.

Started by bench/rerank."""
import os
import statistics
import struct
import subprocess
import sys

from corpus import descriptions
from workers import Worker

WORDS = 400  # of a document before it is cut
LEAST_GAIN = 0.95  # of the tokens that are not computed; their keys and values are still read


def pairs_of(cli, image, query, texts):
    """Ids of each pair; the command takes one pair."""
    found = []
    for text in texts:
        out = subprocess.run([cli, "tokenize", image, "--pair", "--", query, text], capture_output=True, text=True, check=True).stdout
        found.append([int(x) for x in out.splitlines()[0].split()])
    return found


def documents(cli, image, n, tokens, query, out):
    words = " ".join(descriptions()).split()
    step = len(words) // int(n)
    with open(out, "w") as file:
        for i in range(int(n)):
            some = [words[(i * step + k) % len(words)] for k in range(WORDS)]
            lines = "".join(" ".join(some[:k]) + "\n" for k in range(1, WORDS))
            counts = subprocess.run([cli, "tokenize", image, "--count", "-"], input=lines, capture_output=True, text=True, check=True).stdout.split()
            k = max(k for k in range(1, WORDS) if int(counts[k - 1]) <= int(tokens))
            file.write("%d\t%s\n" % (i, " ".join(some[:k]).replace("\\", "/").replace("\t", " ")))


def bits(x):
    return struct.pack("f", float(x))


def shared_ids(pairs):
    """How many ids all pairs begin with."""
    n = 0
    while all(n < len(p) and p[n] == pairs[0][n] for p in pairs):
        n += 1
    return n


def core(cli, image, worker_file, work, documents_file, query, logits_file, rounds, realtime):
    texts = [line.rstrip("\n").split("\t")[1] for line in open(documents_file)]
    pairs = pairs_of(cli, image, query, texts)
    shared, tokens = shared_ids(pairs), sum(map(len, pairs))
    computed = tokens - (len(pairs) - 1) * shared
    print("    %d pairs, %d tokens; %d of them begin all pairs: %.2fx as many tokens as with these computed once" % (len(pairs), tokens, shared, tokens / computed))
    cpu = str(max(os.sched_getaffinity(0)))
    worker = Worker("core", [worker_file, image, "1"], cpu, work, realtime == "yes")
    worker.documents([("", ids) for ids in pairs])
    times, logits = {0: [], shared: []}, {}
    for _ in range(int(rounds)):
        for n in times:
            worker.say("shared %d" % n)
            worker.line()
            cpu_s = worker.cpu_s()
            ms = worker.times("whole")[0]
            times[n].append((ms, (worker.cpu_s() - cpu_s) * 1e3))
            logits[n] = [worker.line() for _ in pairs]
    worker.quit()
    for n, title in ((shared, "with sharing"), (0, "without sharing")):
        print("    core, one call, %-16s %7.0f ms (%.0f ms of CPU time)" % ((title,) + tuple(statistics.median(x) for x in zip(*times[n]))))
    for what, i in (("wall time", 0), ("CPU time", 1)):
        ratios = [b[i] / a[i] for a, b in zip(times[shared], times[0])]
        print("    sharing is %.2fx as fast in %s (%.2f to %.2f)" % (statistics.median(ratios), what, min(ratios), max(ratios)))
    if statistics.median(ratios) < LEAST_GAIN * tokens / computed:
        raise SystemExit("sharing gains too little")
    found = dict(line.split() for line in open(logits_file))
    for n, rows in list(logits.items()) + [("SQL", [found[str(i)] for i in range(len(pairs))])]:
        if [bits(x) for x in rows] != [bits(x) for x in logits[0]]:
            raise SystemExit("the logits of %s differ from those without sharing" % n)
    print("    %d logits have the same bits with sharing, without, and in SQL" % len(pairs))


if len(sys.argv) > 1 and sys.argv[1] in ("documents", "core"):
    globals()[sys.argv[1]](*sys.argv[2:])
else:
    raise SystemExit(__doc__)
