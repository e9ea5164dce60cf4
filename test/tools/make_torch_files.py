#!/usr/bin/env python3
"""Writes the weights of a safetensors file as torch.save would, without torch.

    make_torch_files.py model.safetensors DEST

DEST gets pytorch_model.bin (zip), old/pytorch_model.bin (the layout before
torch 1.6) and sharded/ (two zips and their index). Checked once against
torch 2: torch.load reads all of them and the tensors are equal.
"""
import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

TYPES = {"F32": ("FloatStorage", 4), "F16": ("HalfStorage", 2), "BF16": ("BFloat16Storage", 2), "I64": ("LongStorage", 8),
         "I32": ("IntStorage", 4), "I8": ("CharStorage", 1), "U8": ("ByteStorage", 1)}


def fake_torch():
    """Modules with the names that the pickle must carry."""
    torch = types.ModuleType("torch")
    utils = types.ModuleType("torch._utils")
    for name, _ in TYPES.values():
        kind = type(name, (), {"__module__": "torch"})
        setattr(torch, name, kind)
    def _rebuild_tensor_v2(*args):
        raise NotImplementedError
    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils = utils
    sys.modules["torch"], sys.modules["torch._utils"] = torch, utils
    return torch


TORCH = fake_torch()


class Storage:
    def __init__(self, key, dtype, data):
        self.key, self.dtype, self.data = key, dtype, data

    def count(self):
        return len(self.data) // TYPES[self.dtype][1]


class Tensor:
    def __init__(self, storage, first, shape):
        self.storage, self.first, self.shape = storage, first, tuple(shape)

    def __reduce__(self):
        strides, n = [], 1
        for size in reversed(self.shape):
            strides.insert(0, n)
            n *= size
        return (TORCH._utils._rebuild_tensor_v2,
                (self.storage, self.first, self.shape, tuple(strides), False, OrderedDict()))


class Pickler(pickle.Pickler):
    def __init__(self, file, old):
        super().__init__(file, protocol=2)
        self.old = old

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        kind = getattr(TORCH, TYPES[obj.dtype][0])
        return ("storage", kind, obj.key, "cpu", obj.count()) + ((None,) if self.old else ())


def read_safetensors(path):
    raw = open(path, "rb").read()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    header.pop("__metadata__", None)
    data = raw[8 + length:]
    return {name: (t["dtype"], t["shape"], data[t["data_offsets"][0]:t["data_offsets"][1]]) for name, t in header.items()}


def state_dict(tensors):
    """Every second tensor shares a storage with the one before it, as views do."""
    state, storages = OrderedDict(), []
    for name, (dtype, shape, data) in tensors.items():
        last = storages[-1] if storages else None
        size = TYPES[dtype][1]
        if last is not None and len(storages) % 2 == 0 and last.dtype == dtype:
            state[name] = Tensor(last, last.count(), shape)
            last.data += data
            continue
        storages.append(Storage(str(len(storages)), dtype, data))
        state[name] = Tensor(storages[-1], 0, shape)
    state._metadata = OrderedDict([("", {"version": 1})])
    return state, storages


def pickled(obj, old):
    out = io.BytesIO()
    Pickler(out, old).dump(obj)
    return out.getvalue()


def save_zip(tensors, path):
    state, storages = state_dict(tensors)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        def put(name, data):
            z.writestr(zipfile.ZipInfo("archive/" + name, (1980, 1, 1, 0, 0, 0)), data)
        put("data.pkl", pickled(state, False))
        put("byteorder", "little")
        for s in storages:
            put("data/" + s.key, s.data)
        put("version", "3\n")


def save_old(tensors, path):
    state, storages = state_dict(tensors)
    with open(path, "wb") as f:
        for obj in (0x1950A86A20F9469CFC6C, 1001,
                    {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}},
                    state, [s.key for s in storages]):
            f.write(pickled(obj, True))
        for s in storages:
            f.write(struct.pack("<q", s.count()) + s.data)


def main():
    tensors = read_safetensors(sys.argv[1])
    dest = sys.argv[2]
    for sub in ("", "old", "sharded"):
        os.makedirs(os.path.join(dest, sub), exist_ok=True)
    save_zip(tensors, os.path.join(dest, "pytorch_model.bin"))
    save_old(tensors, os.path.join(dest, "old", "pytorch_model.bin"))
    names = list(tensors)
    index = {}
    for i, part in enumerate((names[:len(names) // 2], names[len(names) // 2:])):
        file = "pytorch_model-%05d-of-00002.bin" % (i + 1)
        save_zip({n: tensors[n] for n in part}, os.path.join(dest, "sharded", file))
        index.update({n: file for n in part})
    with open(os.path.join(dest, "sharded", "pytorch_model.bin.index.json"), "w") as f:
        json.dump({"metadata": {}, "weight_map": index}, f)


if __name__ == "__main__":
    main()
