"""peer_worker.py ENGINE THREADS MODELS: a peer as a resident process that speaks worker.c's lines.

An engine's setting for a batch (texts handed over together, dynamic or static shape) is the fastest of a few, tried before it is timed."""
import os
import sys
import time

engine_name, threads, models = sys.argv[1], int(sys.argv[2]), sys.argv[3]
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = str(threads)
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a library prints is no answer

import json

import numpy as np

MEAN = json.load(open(os.path.join(models, "model.json")))["pooling"] == "mean"


clock = time.process_time if os.environ.get("BENCH_CLOCK") == "cpu" else time.perf_counter


def pooled(hidden, mask):
    """[n, tokens, dim] -> [n, dim], normalized"""
    if MEAN:
        weight = mask[:, :, None].astype(np.float32)
        x = (hidden * weight).sum(1) / weight.sum(1)
    else:
        x = hidden[:, 0]
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def padded(docs):
    n = max(map(len, docs))
    ids = np.zeros((len(docs), n), np.int64)
    mask = np.zeros((len(docs), n), np.int64)
    for i, doc in enumerate(docs):
        ids[i, : len(doc)] = doc
        mask[i, : len(doc)] = 1
    return ids, mask


def micro_batches(batch, tokens):
    return [m for m in (1, 4, 8, 32) if m <= batch and (m == 1 or m * tokens <= 8192)]


class OnnxRuntime:
    def __init__(self, file):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        # its fused SkipLayerNormalization is slow on CPUs: 35 instead of 28 ms at 128 tokens in int8
        self.session = onnxruntime.InferenceSession(
            os.path.join(models, file), options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
        )
        self.version = "onnxruntime " + onnxruntime.__version__

    def settings(self, batch, tokens):
        return [{"micro": m} for m in micro_batches(batch, tokens)]

    def run(self, docs, setting):
        ids, mask = padded(docs)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return pooled(self.session.run(None, feed)[0], mask)


class OpenVino:
    def __init__(self, file, precision):
        import openvino

        self.core = openvino.Core()
        self.version = "openvino " + openvino.__version__
        self.config = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
            "ENABLE_CPU_PINNING": False,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self.model = self.core.read_model(os.path.join(models, file))
        self.dynamic = self.core.compile_model(self.model, "CPU", self.config).create_infer_request()
        self.static = {}

    def settings(self, batch, tokens):
        sizes = micro_batches(batch, tokens)
        return [{"micro": m} for m in sizes] + [{"micro": m, "static": True} for m in sizes if m <= 8]

    def request(self, shape, setting):
        if not setting.get("static"):
            return self.dynamic
        if shape not in self.static:
            model = self.model.clone()
            model.reshape({name: shape for name in ("input_ids", "attention_mask", "token_type_ids")})
            self.static = dict(list(self.static.items())[-3:])
            self.static[shape] = self.core.compile_model(model, "CPU", self.config).create_infer_request()
        return self.static[shape]

    def run(self, docs, setting):
        ids, mask = padded(docs)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return pooled(self.request(ids.shape, setting).infer(feed, share_inputs=True, share_outputs=True)[0], mask)


ENGINES = {
    "ort-fp32": lambda: OnnxRuntime("fp32.onnx"),
    "ort-int8": lambda: OnnxRuntime("int8.onnx"),
    "ov-fp32": lambda: OpenVino("fp32.xml", "f32"),
    "ov-int8": lambda: OpenVino("int8.xml", "f32"),
    "ov-int8-bf16": lambda: OpenVino("int8.xml", "bf16"),
}


class Worker:
    def __init__(self):
        self.engine = ENGINES[engine_name]()
        self.docs = []
        self.chosen = {}

    def embed(self, docs, setting):
        m = setting["micro"]
        return np.concatenate([self.engine.run(docs[i : i + m], setting) for i in range(0, len(docs), m)])

    def setting(self, batch):
        """The fastest for this batch of documents of this length."""
        key = (batch, len(self.docs[0]))
        if key not in self.chosen:
            times = []
            docs = self.docs[: min(batch, 8)]
            for setting in self.engine.settings(batch, key[1]):
                trial = self.docs[:batch] if setting["micro"] > 8 else docs
                self.embed(trial, setting)
                best = 1e9
                for _ in range(3):
                    start = clock()
                    self.embed(trial, setting)
                    best = min(best, (clock() - start) / len(trial))
                times.append((best, str(setting), setting))
            self.chosen[key] = min(times)[2]
        return self.chosen[key]

    def bench(self, batch, seconds, at_least, at_most):
        setting = self.setting(batch)
        self.embed(self.docs[:batch], setting)
        times, at, begin = [], 0, clock()
        while len(times) < at_most and (len(times) < at_least or clock() - begin < seconds):
            start = clock()
            self.embed(self.docs[at : at + batch], setting)
            times.append((clock() - start) * 1e3)
            at = at + batch if at + 2 * batch <= len(self.docs) else 0
        return "ms " + " ".join("%.4f" % t for t in times)

    def serve(self):
        print("ready " + self.engine.version, file=answer, flush=True)
        for line in sys.stdin:
            command, *rest = line.split()
            if command == "ids":
                self.docs = [[int(x) for x in sys.stdin.readline().split()] for _ in range(int(rest[0]))]
                print("ok", file=answer)
            elif command == "bench":
                print(self.bench(int(rest[0]), float(rest[1]), int(rest[2]), int(rest[3])), file=answer)
            elif command == "vectors":
                for doc in self.docs:
                    print(" ".join("%.9g" % x for x in self.embed([doc], {"micro": 1})[0]), file=answer)
            else:
                break
            answer.flush()


Worker().serve()
os._exit(0)  # some libraries' exit handlers hang
