#!/usr/bin/env python3
"""Generates src/tokenizer/unicode_tables.h from the behaviour of a library.

Token ids must equal those of Hugging Face's `tokenizers`, whose Unicode tables
are of several different ages, so no Unicode release gives them. This script
asks the library itself about every scalar value:

    python3 -m pip install tokenizers==0.23.3
    python3 scripts/gen_unicode_tables.py > src/tokenizer/unicode_tables.h

It takes about two minutes. The canonical combining classes behind the
library's NFD are found by watching which pairs it swaps, its grapheme clusters
by watching what a Precompiled normalizer of our own making replaces.
"""
import json
import struct
import sys
import unicodedata

import tokenizers
from tokenizers import Tokenizer, normalizers, pre_tokenizers

WANTED = "0.23.3"
BLOCK = 128
N_CODES = 0x110000

# Bits of EmbUniRecord.flags, as tokenizer/unicode.h names them (EMB_UNI_...).
FLAGS = ["SPACE", "PUNCT", "CLEAN_DROP", "CLEAN_SPACE", "CJK", "MN", "WORD", "NONSTARTER", "LOWER_MULTI", "LETTER", "NUMBER",
         "COMPOSES", "NMT_DROP", "NMT_SPACE", "MARK", "COMPAT"]
BIT = {name: 1 << i for i, name in enumerate(FLAGS)}

# EmbUniRecord.cluster, as tokenizer/unicode.h names it (EMB_UNI_GC_...): a class and two bits.
CLUSTER = ["OTHER", "CR", "LF", "CONTROL", "EXTEND", "ZWJ", "PREPEND", "SPACING", "L", "V", "T", "LV", "LVT",
           "PICTURE", "CONSONANT"]
GC = {name: i for i, name in enumerate(CLUSTER)}
GC_CONJOINS, GC_LINKS = 0x10, 0x20


def scalars():
    for cp in range(1, N_CODES):
        if not 0xD800 <= cp <= 0xDFFF:
            yield cp


# The general categories, as tokenizer/unicode.h names them (EMB_UNI_CAT_...).
CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
              "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"]


def is_hangul(cp):
    return 0xAC00 <= cp < 0xAC00 + 11172


def bert(**on):
    options = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    options.update(on)
    return normalizers.BertNormalizer(**options).normalize_str


def word_tester():
    """Two functions: does this character end, or start, a word to single_word?"""
    tok = Tokenizer.from_str(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": None,
        "post_processor": None, "decoder": None,
        "added_tokens": [{"id": 1, "content": "<x>", "single_word": True, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": False}],
        "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}}))
    return (lambda c: 1 not in tok.encode(c + "<x>").ids), (lambda c: 1 not in tok.encode("<x>" + c).ids)


def strip_tester():
    """Does the lstrip of an added token eat this character?"""
    tok = Tokenizer.from_str(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": None,
        "post_processor": None, "decoder": None,
        "added_tokens": [{"id": 1, "content": "<x>", "single_word": False, "lstrip": True, "rstrip": False,
                          "normalized": False, "special": False}],
        "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}}))
    return lambda c: len(tok.encode("a" + c + "<x>").tokens[-1]) > 3


def probe_flags():
    clean, cjk = bert(clean_text=True), bert(handle_chinese_chars=True)
    strip = bert(strip_accents=True)
    nfd = normalizers.NFD().normalize_str
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    ends_word, starts_word = word_tester()
    stripped = strip_tester()
    regex = {p: pre_tokenizers.Split(tokenizers.Regex(p), "removed").pre_tokenize_str for p in (r"\p{L}", r"\p{N}", r"\s")}
    flags = [0] * N_CODES
    for cp in scalars():
        c = chr(cp)
        f = 0
        parts = [p for p, _ in split("a" + c + "a")]
        if parts == ["a", "a"]:
            f |= BIT["SPACE"]
        elif parts == ["a", c, "a"]:
            f |= BIT["PUNCT"]
        else:
            assert parts == ["a" + c + "a"], hex(cp)
        out = clean(c)
        if out == "":
            f |= BIT["CLEAN_DROP"]
        elif out == " ":
            f |= BIT["CLEAN_SPACE"]
        else:
            assert out == c, hex(cp)
        out = cjk(c)
        if out != c:
            assert out == " " + c + " ", hex(cp)
            f |= BIT["CJK"]
        if nfd(c) == c and strip(c) == "":
            f |= BIT["MN"]
        assert ends_word(c) == starts_word(c), hex(cp)
        if ends_word(c):
            f |= BIT["WORD"]
        assert stripped(c) == bool(f & BIT["SPACE"]), hex(cp)
        assert (not regex[r"\s"](c)) == bool(f & BIT["SPACE"]), hex(cp)
        if not regex[r"\p{L}"](c):
            f |= BIT["LETTER"]
        if not regex[r"\p{N}"](c):
            f |= BIT["NUMBER"]
        flags[cp] = f
    return flags


def probe_nfd(flags):
    """Decompositions but for Hangul, which is checked to be algorithmic."""
    nfd, strip = normalizers.NFD().normalize_str, bert(strip_accents=True)
    table = {}
    for cp in scalars():
        out = nfd(chr(cp))
        if is_hangul(cp):
            s = cp - 0xAC00
            want = [0x1100 + s // 588, 0x1161 + s % 588 // 28] + ([0x11A7 + s % 28] if s % 28 else [])
            assert [ord(c) for c in out] == want, hex(cp)
        elif out != chr(cp):
            table[cp] = [ord(c) for c in out]
            assert all(nfd(c) == c for c in out), hex(cp)
        assert strip(chr(cp)) == "".join(c for c in out if not flags[ord(c)] & BIT["MN"]), hex(cp)
    return table


def probe_compat(flags, nfd_table):
    """What Nmt and StripAccents do to each code point; and the NFKD of those whose NFD is another text."""
    nmt, strip = normalizers.Nmt().normalize_str, normalizers.StripAccents().normalize_str
    nfkd = normalizers.NFKD().normalize_str
    compat = {}
    for cp in scalars():
        c = chr(cp)
        out = nmt(c)
        assert out in ("", " ", c), hex(cp)
        flags[cp] |= BIT["NMT_DROP"] if out == "" else BIT["NMT_SPACE"] if out != c else 0
        out = strip(c)
        assert out in ("", c), hex(cp)
        flags[cp] |= BIT["MARK"] if out == "" else 0
        out = nfkd(c)
        if not is_hangul(cp) and [ord(x) for x in out] != nfd_table.get(cp, [cp]):
            compat[cp] = [ord(x) for x in out]
            flags[cp] |= BIT["COMPAT"]
    return compat


def probe_categories():
    """The general category of each code point to the library's regular expressions."""
    text = "".join(map(chr, scalars()))
    codes = list(scalars())
    found = [CATEGORIES.index("Cn")] * N_CODES

    def matched(regex):
        """The places in text that a regular expression for one character matches"""
        at = 0
        for _, (start, end) in pre_tokenizers.Split(tokenizers.Regex(regex), "removed").pre_tokenize_str(text):
            yield from range(at, start)
            at = end
        yield from range(at, len(text))

    count = 0
    for i, name in enumerate(CATEGORIES):
        if name != "Cs":		# surrogates are in no text
            for place in matched(r"\p{%s}" % name):
                found[codes[place]] = i
                count += 1
    assert count == len(text)
    for name in "LMNPSZC":
        places = list(matched(r"\p{%s}" % name))
        assert all(CATEGORIES[found[codes[p]]][0] == name for p in places)
        assert len(places) == sum(CATEGORIES[found[cp]][0] == name for cp in codes)
    places = list(matched(r"\d"))
    assert all(CATEGORIES[found[codes[p]]] == "Nd" for p in places)
    assert len(places) == sum(CATEGORIES[found[cp]] == "Nd" for cp in codes)
    # What letters of ASCII match in either case: regex.c knows.
    letters = [*range(65, 91), *range(97, 123), 0x17F, 0x212A]
    assert [codes[p] for p in matched("(?i:[a-z])")] == letters
    for c in map(chr, letters):
        other = {0x17F: "s", 0x212A: "k"}.get(ord(c), c.lower())
        assert not pre_tokenizers.Split(tokenizers.Regex("(?i:%s)" % other), "removed").pre_tokenize_str(c)
    return found


def probe_lower():
    lower, bert_lower = normalizers.Lowercase().normalize_str, bert(lowercase=True)
    delta, multi = {}, {}
    for cp in scalars():
        out = lower(chr(cp))
        assert out == bert_lower(chr(cp)), hex(cp)
        if len(out) != 1:
            multi[cp] = [ord(c) for c in out]
        elif out != chr(cp):
            delta[cp] = ord(out) - cp
    # Context must not matter: no final sigma.
    assert lower("\u03a3\u03a3 a\u03a3") == "\u03c3\u03c3 a\u03c3"
    return delta, multi


def probe_classes(nfd_table):
    """Code point -> rank of its canonical combining class, 0 for starters.

    NFD(x + y) swaps exactly when class(x) > class(y) > 0. U+0334 has the lowest
    class there is and U+0301 one in the middle, so each non-starter swaps with
    one of them.
    """
    nfd = normalizers.NFD().normalize_str

    def greater(x, y):
        return x != y and nfd(x + y) == y + x

    found = []
    for cp in scalars():
        if cp in nfd_table or is_hangul(cp):
            continue
        c = chr(cp)
        if c == "\u0334" or greater("\u0301", c) or greater(c, "\u0334"):
            found.append(c)
    # Sort into classes by comparison alone: a list of classes, lowest first.
    classes = []
    for c in sorted(found, key=lambda c: (unicodedata.combining(c) or 999, c)):
        low, high = 0, len(classes)
        while low < high:
            mid = (low + high) // 2
            r = classes[mid][0]
            if greater(c, r):
                low = mid + 1
            elif greater(r, c):
                high = mid
            else:
                classes[mid].append(c)
                break
        else:
            classes.insert(low, [c])
    # Verify the order against one representative of every class, both ways.
    for i, cls in enumerate(classes):
        for c in cls:
            for j, other in enumerate(classes):
                r = other[0]
                assert greater(c, r) == (i > j) and greater(r, c) == (j > i), (hex(ord(c)), hex(ord(r)))
    return {ord(c): i + 1 for i, cls in enumerate(classes) for c in cls}


def probe_compositions(nfd_table, classes):
    """NFC: the pairs that compose, but for Hangul, and what cannot be taken alone.

    The latter are the code points that NFC changes and those that may compose
    with, or be reordered behind, what comes before. Everything else stands for
    itself unless one of them follows.
    """
    nfc = normalizers.NFC().normalize_str
    pairs, alone = {}, set()
    for cp, seq in nfd_table.items():
        if nfc(chr(cp)) != chr(cp):
            alone.add(cp)
        elif len(seq) > 1:
            first = nfc("".join(map(chr, seq[:-1])))
            assert len(first) == 1 and nfc(first + chr(seq[-1])) == chr(cp), hex(cp)
            assert (ord(first), seq[-1]) not in pairs
            pairs[ord(first), seq[-1]] = cp
    alone |= set(classes) | {second for _, second in pairs} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    alone |= {cp for cp, seq in nfd_table.items() if seq[0] in alone}
    for cp in scalars():
        assert cp in alone or nfc(chr(cp)) == chr(cp), hex(cp)
    # Of syllables only those without a trailing consonant take one.
    assert nfc("\uac00\u11a8") == "\uac01" and nfc("\uac01\u11a8") == "\uac01\u11a8" and nfc("\u1100\u1161\u11c2") == "\uac1b"
    assert nfc("\uac00\u11a7") == "\uac00\u11a7" and nfc("\u1112\u1175") == "\ud788"
    return pairs, alone


def charsmap(chars, to="Q"):
    """A precompiled charsmap (Darts-clone) that replaces each of chars; one block of units for each inner node."""
    tree = {}
    for c in chars:
        node = tree
        for byte in c.encode():
            node = node.setdefault(byte, {})
        node[None] = None
    units, queue, n_blocks = {}, [(0, tree, 0)], 0
    while queue:
        at, node, label = queue.pop()
        base = n_blocks * 256 + (at & 255)
        n_blocks += 1
        units[at] = (at ^ base) << 2 | 1 << 9 | (None in node) << 8 | label
        for byte, child in node.items():
            if byte is None:
                units[base] = 1 << 31	# the value: an offset into the replacements
            else:
                queue.append((base ^ byte, child, byte))
    trie = [units.get(i, 0) for i in range(n_blocks * 256)]
    return struct.pack("<I%dI" % len(trie), len(trie) * 4, *trie) + to.encode() + b"\0"


def probe_clusters():
    """The class of each code point in the rules of grapheme clusters.

    Precompiled looks clusters of under 6 bytes up as a whole, by their first
    mapped prefix, and longer ones by code point: "x" mapped to Q and followed
    by an acute accent gives Q if x starts a cluster, and Q with the accent if
    it goes on with one (which is then too long, or does not start with x).
    Regional indicators need no class: clusters of two are looked up by code point.
    """
    norms = {x: normalizers.Precompiled(charsmap([x])).normalize_str
             for x in "a\u00e9\u0300\u1100\u1161\u11a8\u2122\u0915"}

    def joins(before, x, norm=None):
        out = (norm or norms[x])(before + x + "\u0301")
        assert out.endswith("Q") or out.endswith("Q\u0301"), (before, x, out)
        return out.endswith("\u0301")

    def klass(c):
        if norms["a"]("a" + c) == "Q":
            if c == "\u200d":
                return "ZWJ"
            return "EXTEND" if joins("\U0001F469" + c + "\u200d", "\u2122") else "SPACING"
        if not joins(c, "\u0300"):
            return {"\r": "CR", "\n": "LF"}.get(c, "CONTROL")
        if joins(c, "\u00e9"):
            return "PREPEND"
        if joins(c, "\u1100"):
            return "L"
        if joins(c, "\u1161"):
            return "LV"			# or V, sorted out below
        if joins(c, "\u11a8"):
            return "LVT"			# or T
        if joins(c + "\u200d", "\u2122"):
            return "PICTURE"
        return "CONSONANT" if joins(c + "\u094d", "\u0915") else "OTHER"

    clusters = [0] * N_CODES
    hangul = []
    for cp in scalars():
        c = chr(cp)
        name = klass(c)
        if name in ("LV", "LVT"):
            hangul.append(c)
        clusters[cp] = GC[name]
        if name not in ("PREPEND", "CONTROL", "CR", "LF") and joins("\u0915" + c, "\u0915"):
            clusters[cp] |= GC_LINKS
        elif name != "PREPEND" and joins("\u0915\u094d" + c, "\u0915"):
            clusters[cp] |= GC_CONJOINS
    norm = normalizers.Precompiled(charsmap(hangul)).normalize_str
    for c in hangul:
        if joins("\u1161", c, norm):
            clusters[ord(c)] += GC["V"] - GC["LV"]	# and T - LVT
    assert GC["V"] - GC["LV"] == GC["T"] - GC["LVT"]
    return clusters


def two_stage(values):
    blocks, stage1 = {}, []
    for start in range(0, N_CODES, BLOCK):
        block = tuple(values[start:start + BLOCK])
        stage1.append(blocks.setdefault(block, len(blocks)))
    return stage1, [v for block in blocks for v in block]


def c_array(ctype, name, values, fmt=str):
    lines, line = [], "\t"
    for v in values:
        item = fmt(v) + ","
        if len(line) + len(item) > 110:
            lines.append(line.rstrip())
            line = "\t"
        line += item + " " if ctype.startswith("EmbUni") else item
    lines.append(line.rstrip())
    print("static const %s %s[%d] = {\n%s\n};\n" % (ctype, name, len(values), "\n".join(lines)))


def main():
    if tokenizers.__version__ != WANTED:
        sys.exit("tokenizers %s is installed, %s is needed" % (tokenizers.__version__, WANTED))
    flags = probe_flags()
    nfd_table = probe_nfd(flags)
    compat = probe_compat(flags, nfd_table)
    categories = probe_categories()
    delta, multi = probe_lower()
    classes = probe_classes(nfd_table)
    clusters = probe_clusters()
    pairs, alone = probe_compositions(nfd_table, classes)
    for cp in alone:
        flags[cp] |= BIT["COMPOSES"]
    for cp in multi:
        flags[cp] |= BIT["LOWER_MULTI"]
    for cp in classes:
        flags[cp] |= BIT["NONSTARTER"]
        # What canonical ordering moves never ends a word: the encoder relies on it.
        assert not flags[cp] & (BIT["SPACE"] | BIT["PUNCT"] | BIT["CJK"] | BIT["CLEAN_DROP"] | BIT["CLEAN_SPACE"])
        assert cp not in delta and cp not in multi
    # Only what outlives the stripping of accents is ever ordered: renumber those classes.
    kept = sorted({rank for cp, rank in classes.items() if not flags[cp] & BIT["MN"]})
    order = {cp: kept.index(rank) + 1 for cp, rank in classes.items() if not flags[cp] & BIT["MN"]}
    assert len(kept) <= 31

    records, record_of = {}, [0] * N_CODES
    for cp in range(N_CODES):
        rec = (flags[cp], order.get(cp, 0), clusters[cp], delta.get(cp, 0))
        record_of[cp] = records.setdefault(rec, len(records))
    sequences, nfd_of = [0], [0] * N_CODES
    for cp, seq in sorted(nfd_table.items()):
        assert 1 <= len(seq) <= 4
        nfd_of[cp] = len(sequences) << 2 | len(seq) - 1
        sequences += seq
    assert max(nfd_of) < 65536

    print("""/*
 * unicode_tables.h
 *		What the reference library does to each code point.
 *
 * Generated by scripts/gen_unicode_tables.py from the behaviour of the Python
 * package tokenizers %s. Do not edit.
 *
 * A code point's record is emb_uni_records[emb_uni_stage2[emb_uni_stage1[cp >>
 * %d] * %d + (cp & %d)]]. Its canonical decomposition, where emb_nfd_stage2
 * (same shape) is not 0, has (v & 3) + 1 code points from emb_nfd_codes[v >> 2]
 * on; Hangul syllables are decomposed by arithmetic. emb_class_stage2 has the
 * rank of a code point's canonical combining class, 0 of starters; emb_pairs is
 * sorted. So is emb_compats: a code point's compatibility decomposition, n code
 * points from emb_compat_codes[at] on. emb_category_stage2 has its general category.
 */
#ifndef EMB_TOKENIZER_UNICODE_TABLES_H
#define EMB_TOKENIZER_UNICODE_TABLES_H

#include "tokenizer/unicode.h"

#define EMB_UNI_BLOCK_BITS	%d
""" % (WANTED, BLOCK.bit_length() - 1, BLOCK, BLOCK - 1, BLOCK.bit_length() - 1))
    print("#define EMB_UNI_N_ORDERS %d\n" % len(kept))
    s1, s2 = two_stage(record_of)
    assert max(s1) < 65536 and len(records) < 65536
    c_array("EmbUniRecord", "emb_uni_records", list(records), lambda r: "{%d, %d, %d, %d}" % r)
    c_array("uint16_t", "emb_uni_stage1", s1)
    c_array("uint16_t", "emb_uni_stage2", s2)
    s1, s2 = two_stage(nfd_of)
    c_array("uint16_t", "emb_nfd_stage1", s1)
    c_array("uint16_t", "emb_nfd_stage2", s2)
    c_array("uint32_t", "emb_nfd_codes", sequences)
    assert max(classes.values()) < 64
    s1, s2 = two_stage([classes.get(cp, 0) for cp in range(N_CODES)])
    c_array("uint16_t", "emb_class_stage1", s1)
    c_array("uint8_t", "emb_class_stage2", s2)
    c_array("EmbUniPair", "emb_pairs", sorted((a, b, c) for (a, b), c in pairs.items()), lambda p: "{%d, %d, %d}" % p)
    print("#define EMB_UNI_N_PAIRS %d\n" % len(pairs))
    codes, compats = [], []
    for cp, seq in sorted(compat.items()):
        compats.append((cp, len(codes), len(seq)))
        codes += seq
    assert len(codes) < 65536 and max(len(seq) for seq in compat.values()) <= 18
    c_array("EmbUniCompat", "emb_compats", compats, lambda c: "{%d, %d, %d}" % c)
    print("#define EMB_UNI_N_COMPATS %d\n" % len(compats))
    c_array("uint32_t", "emb_compat_codes", codes)
    s1, s2 = two_stage(categories)
    c_array("uint16_t", "emb_category_stage1", s1)
    c_array("uint8_t", "emb_category_stage2", s2)
    c_array("EmbUniMulti", "emb_lower_multi", sorted(multi.items()),
            lambda m: "{%d, %d, {%s}}" % (m[0], len(m[1]), ", ".join(str(v) for v in m[1])))
    print("#define EMB_LOWER_N_MULTI %d\n\n#endif" % len(multi))
    sys.stderr.write("%d records, %d decompositions, %d non-starters, %d kept in %d classes: %s\n" % (
        len(records), len(nfd_table), len(classes), len(order), len(kept),
        " ".join("U+%04X:%d" % kv for kv in sorted(order.items()))))


if __name__ == "__main__":
    main()
