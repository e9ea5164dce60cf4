"""machine.py: the machine of a run: its CPU's microarchitecture, which names the run's file in bench/results/, and its load."""
import os
import platform
import re

INTERESTING = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
QUIET = 1.0  # a load of 1 or more is other work on at least one CPU

# (vendor, family, models): where CPUID's model numbers of a microarchitecture lie; first rule that fits
X86 = (
    ("AuthenticAMD", 0x17, ((0x30, 0xAF),), "AMD Zen 2"),
    ("AuthenticAMD", 0x17, ((0x00, 0x2F),), "AMD Zen"),
    ("AuthenticAMD", 0x19, ((0x10, 0x1F), (0x60, 0x7F), (0xA0, 0xAF)), "AMD Zen 4"),
    ("AuthenticAMD", 0x19, ((0x00, 0x5F),), "AMD Zen 3"),
    ("AuthenticAMD", 0x1A, ((0x00, 0x7F),), "AMD Zen 5"),
    ("GenuineIntel", 6, ((0x3C, 0x3C), (0x3F, 0x3F), (0x45, 0x46)), "Intel Haswell"),
    ("GenuineIntel", 6, ((0x3D, 0x3D), (0x47, 0x47), (0x4F, 0x4F), (0x56, 0x56)), "Intel Broadwell"),
    ("GenuineIntel", 6, ((0x55, 0x55),), "Intel Skylake-SP"),  # Cascade Lake and Cooper Lake differ by stepping
    ("GenuineIntel", 6, ((0x6A, 0x6A), (0x6C, 0x6C)), "Intel Ice Lake-SP"),
    ("GenuineIntel", 6, ((0x8C, 0x8D),), "Intel Tiger Lake"),
    ("GenuineIntel", 6, ((0x97, 0x97), (0x9A, 0x9A)), "Intel Alder Lake"),
    ("GenuineIntel", 6, ((0xB7, 0xB7), (0xBA, 0xBA), (0xBF, 0xBF)), "Intel Raptor Lake"),
    ("GenuineIntel", 6, ((0x8F, 0x8F),), "Intel Sapphire Rapids"),
    ("GenuineIntel", 6, ((0xCF, 0xCF),), "Intel Emerald Rapids"),
    ("GenuineIntel", 6, ((0xAD, 0xAE),), "Intel Granite Rapids"),
    ("GenuineIntel", 6, ((0xAF, 0xAF),), "Intel Sierra Forest"),
)
ARM64 = {  # (implementer, part)
    (0x41, 0xD08): "Arm Cortex-A72",
    (0x41, 0xD0B): "Arm Cortex-A76",
    (0x41, 0xD0C): "Arm Neoverse N1",
    (0x41, 0xD40): "Arm Neoverse V1",
    (0x41, 0xD49): "Arm Neoverse N2",
    (0x41, 0xD4F): "Arm Neoverse V2",
    (0xC0, 0xAC3): "Ampere-1",
}
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?\Z")


def number(text):
    """A number of /proc/cpuinfo, decimal or 0x..; None for anything else"""
    try:
        return int(text, 0)
    except (TypeError, ValueError):
        return None


def read_cpuinfo(text):
    """{field: value} of the first CPU of /proc/cpuinfo; some lines of arm64 come once, behind all CPUs"""
    found = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def describe(cpuinfo, architecture=None):
    """What a run says of the CPU: its name and the numbers that tell the microarchitecture."""
    fields = read_cpuinfo(cpuinfo)
    flags = fields.get("flags", "").split()
    found = {"cpu": fields.get("model name") or architecture or platform.machine(), "isa": [x for x in INTERESTING if x in flags]}
    for key, field in (("family", "cpu family"), ("model", "model"), ("stepping", "stepping"), ("implementer", "CPU implementer"), ("part", "CPU part")):
        value = number(fields.get(field))
        if value is not None:
            found[key] = value
    if "vendor_id" in fields:
        found["vendor"] = fields["vendor_id"]
    return found


def here():
    with open("/proc/cpuinfo", errors="replace") as f:
        found = describe(f.read())
    return {**found, "cpus": len(os.sched_getaffinity(0)), "kernel": platform.release(), "load": os.getloadavg()[0]}


def microarchitecture(m):
    """"AMD Zen 4"; None if the numbers are missing or unknown"""
    for vendor, family, models, title in X86:
        if m.get("vendor") == vendor and m.get("family") == family and any(a <= m.get("model", -1) <= b for a, b in models):
            return title
    return ARM64.get((m.get("implementer"), m.get("part")))


def slug_of(title):
    """"AMD Zen 4" is amd-zen4, "Intel Emerald Rapids" intel-emerald-rapids"""
    text = re.sub(r"\b(zen|cortex|neoverse) ", r"\1", title.lower())
    return re.sub(r"[^a-z0-9.]+", "-", text).strip("-.")[:64].strip("-.")


def slug(m):
    """Name of the file of this CPU's run: of its microarchitecture, else of its vendor and numbers; None without these"""
    title = microarchitecture(m)
    if title:
        return slug_of(title)
    if "vendor" in m and "family" in m and "model" in m:
        vendor = {"AuthenticAMD": "amd", "GenuineIntel": "intel", "HygonGenuine": "hygon"}.get(m["vendor"], slug_of(str(m["vendor"])))
        return "%s-family%d-model%d" % (vendor, m["family"], m["model"])
    if "implementer" in m and "part" in m:
        return "arm64-%02x-%03x" % (m["implementer"], m["part"])
    return None


def title(m, name):
    """How tables call the CPU whose file is called name."""
    for known in [t for _, _, _, t in X86] + list(ARM64.values()):
        if slug_of(known) == name:
            return known
    return m.get("cpu", name) if slug(m) == name else name


def is_quiet(load):
    return load is not None and load < QUIET


def load_words(load):
    """For a caption: what the load before the run says of its figures."""
    if load is None:
        return "load before the run unknown"
    return "quiet machine (load %.1f before the run)" % load if is_quiet(load) else "not a quiet machine: load %.1f before the run" % load
