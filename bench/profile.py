"""profile.py: shares of CPU time by part, from perf's samples with call chains; started by bench/profile."""
import argparse
import collections
import os
import re
import signal
import subprocess
import time

from corpus import Corpus
from workers import Sql, Worker

# The first rule that any frame of a chain meets decides, innermost frame first within a rule.
RULES = (
    ("tokenizer", r"^(emb_tok_|emb_trie_|emb_nfd_|emb_lower_|emb_uni_|emb_utf8_|emb_model_encode|.*wordpiece|tokenize)"),
    ("attention", r"attend|attention|softmax|pack_keys|pack_values"),
    ("layer norm", r"add_norm|rms_norm|copy_norm|norm_v16|layer_norm"),
    ("GELU", r"gelu|silu|activate_rows|gate_rows|relu_f32"),
    ("quantize", r"quantize"),
    ("GEMM", r"gemm|tile_|multiply|unpack_|^i4_|^project"),
    ("pooling, embeddings", r"pool|embed_rows|piece_begin|normalize"),
)
PARTS = [name for name, _ in RULES] + ["rest of the core", "extension", "PostgreSQL", "kernel and libc"]
COMPILED = [(name, re.compile(rule)) for name, rule in RULES]


def part_of(chain, sql):
    """chain: (symbol, object) from the innermost frame outwards"""
    chain = [(symbol, os.path.basename(path)) for symbol, path in chain]
    ours = [symbol for symbol, name in chain if name in ("embed.so", "worker")]
    for part, rule in COMPILED:
        if any(rule.search(s) for s in ours):
            return part
    if chain[0][1] in ("postgres", "plpgsql.so"):
        return "PostgreSQL"
    if chain[0][1].startswith(("[", "libc", "ld-")):
        return "kernel and libc"
    return "extension" if sql else "rest of the core"


def chains(path):
    """The samples of perf script: indented lines "address symbol+offset (object)", a blank line after each sample."""
    text = subprocess.run(["perf", "script", "-i", path, "-F", "ip,sym,dso"], capture_output=True, text=True, errors="replace", check=True).stdout
    for block in text.split("\n\n"):
        chain = re.findall(r"^\s*[0-9a-f]+ (.*?)(?:\+0x[0-9a-f]+)? \((.*)\)$", block, re.M)
        if chain:
            yield chain


def record(worker, run, seconds):
    """perf beside a worker that is at work for so long; its samples' file"""
    path = os.path.join(args.work, "perf.data")
    perf = subprocess.Popen(
        ["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-g", "-p", str(worker.pid), "-o", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(0.5)
    run(seconds)
    perf.send_signal(signal.SIGINT)
    perf.wait()
    return path


def shares(path, sql):
    counts, symbols = collections.Counter(), collections.Counter()
    for chain in chains(path):
        part = part_of(chain, sql)
        counts[part] += 1
        symbols[part, chain[0][0]] += 1
    return counts, symbols


def print_row(title, counts, symbols):
    total = sum(counts.values()) or 1
    rows.append("| %s | %s |" % (title, " | ".join("%.1f %%" % (100 * counts[p] / total) for p in PARTS)))
    print(rows[-1] + " of %d samples" % total, flush=True)
    if args.symbols:
        for (part, symbol), n in symbols.most_common(25):
            print("    %5.1f %%  %-20s %s" % (100 * n / total, part, symbol))


def put_into(path):
    with open(path) as f:
        text = f.read()
    table = "%s, level %s, one thread.\n\n%s" % (time.strftime("%Y-%m-%d"), level, "\n".join(rows))
    text, n = re.subn(r"(<!-- profile -->\n).*?(<!-- /profile -->)", lambda m: "%s%s\n%s" % (m[1], table, m[2]), text, flags=re.S)
    if n != 1:
        raise SystemExit("%s has no mark <!-- profile -->" % path)
    with open(path, "w") as f:
        f.write(text)


def texts_of(corpus, tokens, n):
    return [text for text, _ in corpus.documents(tokens, n, seed=tokens)]


def profile_core(corpus, cell):
    global level
    tokens, batch = map(int, cell.split("x"))
    worker = Worker("embed", [args.worker, args.image, "1"] + ([args.level] if args.level else []), cpus(), args.work)
    level = worker.version.rsplit(" ", 1)[1]
    worker.texts(texts_of(corpus, tokens, max(batch, 16)))
    worker.bench(batch, 0.3)
    print_row("core, " + cell.replace("x", " x "), *shares(record(worker, lambda s: worker.bench(batch, s, 1, 100000), args.seconds), False))
    worker.quit()


def profile_backend(corpus, how, title):
    session = Sql("embed-sql", args.sql, args.sql_model, 1, cpus())
    session.texts(texts_of(corpus, 128, 64))
    session.one_pass(how)

    def run(seconds):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            session.one_pass(how)

    print_row(title, *shares(record(session, run, args.seconds), True))
    session.quit()


def cpus():
    return str(max(os.sched_getaffinity(0)))


def parse():
    p = argparse.ArgumentParser(description=__doc__)
    for name in ("work", "cli", "worker", "image"):
        p.add_argument("--" + name, required=True, help=argparse.SUPPRESS)
    p.add_argument("--sql", default="", help=argparse.SUPPRESS)
    p.add_argument("--sql-model", default="bench", help=argparse.SUPPRESS)
    p.add_argument("--cells", default="16x1,128x1,512x1,16x32,128x32", help="tokens x texts a call")
    p.add_argument("--seconds", type=float, default=2, help="of samples a row")
    p.add_argument("--level", default="", help="instruction set level (the core's rows)")
    p.add_argument("--into", default="", help="a page: the table goes between its marks <!-- profile --> and <!-- /profile -->")
    p.add_argument("--symbols", action="store_true", help="the busiest functions of each row")
    return p.parse_args()


def main():
    corpus = Corpus(args.cli, args.image)
    rows.append("| tokens x texts | %s |\n| %s |" % (" | ".join(PARTS), " | ".join(["---"] * (len(PARTS) + 1))))
    print(rows[0])
    for cell in args.cells.split(","):
        profile_core(corpus, cell)
    if args.sql:
        profile_backend(corpus, "select", "`SELECT embed(body) FROM t`, 128")
        profile_backend(corpus, "all", "`embed(text[])`, 128")
    if args.into:
        put_into(args.into)


args = parse()
rows, level = [], ""
main()
