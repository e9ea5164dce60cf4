"""The peers. An engine has run(documents as lists of ids, setting) -> [n, dim], normalized (of a decoder that reranks the logits,
[n, 1]), and settings(batch, tokens): those worth trying for a number of documents with a number of tokens; "micro" is the number
of documents per call. Libraries are imported by the engine that needs them."""
import ctypes
import json
import os
import time

import numpy as np

# group of bench/requirements.txt, then how to make the engine
ENGINES = {
    "ort-fp32": ("onnxruntime", lambda *a: OnnxRuntime(*a, "fp32.onnx")),
    "ort-int8": ("onnxruntime", lambda *a: OnnxRuntime(*a, "int8.onnx")),
    "ov-fp32": ("openvino", lambda *a: OpenVino(*a, "fp32.xml", "f32")),
    "ov-bf16": ("openvino", lambda *a: OpenVino(*a, "fp32.xml", "bf16")),
    "ov-int8": ("openvino", lambda *a: OpenVino(*a, "int8.xml", "f32")),
    "ov-int8-bf16": ("openvino", lambda *a: OpenVino(*a, "int8.xml", "bf16")),
    "torch-fp32": ("torch", lambda *a: Torch(*a, "fp32")),
    "torch-bf16": ("torch", lambda *a: Torch(*a, "bf16")),
    "torch-int8": ("torch", lambda *a: Torch(*a, "int8")),
    "llama-q8_0": ("llama.cpp", lambda *a: LlamaCpp(*a, "q8_0.gguf")),
    "ov-decoder-int8": ("openvino", lambda *a: OpenVinoDecoder(*a, "int8.xml")),
    "ov-decoder-int4": ("openvino", lambda *a: OpenVinoDecoder(*a, "int4.xml")),
    "llama-decoder-q8_0": ("llama.cpp", lambda *a: LlamaDecoder(*a, "q8_0.gguf")),
    "llama-decoder-q4_0": ("llama.cpp", lambda *a: LlamaDecoder(*a, "q4_0.gguf")),
    "llama-decoder-q4_k_m": ("llama.cpp", lambda *a: LlamaDecoder(*a, "q4_k_m.gguf")),
    "nothing": ("base", lambda *a: Nothing(*a)),
}
STATIC_SHAPES = 4


def make(name, threads, models):
    return ENGINES[name][1](threads, models)


def clock():
    return time.process_time() if os.environ.get("BENCH_CLOCK") == "cpu" else time.perf_counter()


def padded(docs):
    n = max(map(len, docs))
    ids = np.zeros((len(docs), n), np.int64)
    mask = np.zeros((len(docs), n), np.int64)
    for i, doc in enumerate(docs):
        ids[i, : len(doc)] = doc
        mask[i, : len(doc)] = 1
    return ids, mask


def normalized(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def micro_batches(batch, tokens):
    return [m for m in (1, 4, 8, 32) if m <= batch and (m == 1 or m * tokens <= 8192)]


class Engine:
    def __init__(self, threads, models):
        self.threads, self.models = threads, models
        self.mean = json.load(open(os.path.join(models, "model.json")))["pooling"] == "mean"

    def file(self, name):
        return os.path.join(self.models, name)

    def settings(self, batch, tokens):
        return [{"micro": m} for m in micro_batches(batch, tokens)]

    def pooled(self, hidden, mask):
        """[n, tokens, dim] -> [n, dim], normalized"""
        if not self.mean:
            return normalized(hidden[:, 0])
        weight = mask[:, :, None].astype(np.float32)
        return normalized((hidden * weight).sum(1) / weight.sum(1))


class OnnxRuntime(Engine):
    def __init__(self, threads, models, file):
        super().__init__(threads, models)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        # its fused SkipLayerNormalization is slow on CPUs: 31 instead of 26 ms at 128 tokens in int8
        self.session = onnxruntime.InferenceSession(
            self.file(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
        )
        self.version = "onnxruntime " + onnxruntime.__version__

    def run(self, docs, setting):
        ids, mask = padded(docs)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return self.pooled(self.session.run(None, feed)[0], mask)


class OpenVino(Engine):
    """Dynamic shapes, a model compiled for one shape, or (on several threads) as many streams as threads."""

    def __init__(self, threads, models, file, precision):
        super().__init__(threads, models)
        import openvino

        self.openvino, self.core = openvino, openvino.Core()
        self.version = "openvino " + openvino.__version__
        self.config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": False}
        self.model = self.core.read_model(self.file(file))
        self.dynamic = self.compiled(self.model, PERFORMANCE_HINT="LATENCY").create_infer_request()
        self.static = {}
        self.queue = None

    def compiled(self, model, **more):
        return self.core.compile_model(model, "CPU", {**self.config, **more})

    def settings(self, batch, tokens):
        sizes = micro_batches(batch, tokens)
        found = [{"micro": m} for m in sizes] + [{"micro": m, "static": True} for m in sizes if m <= 8]
        if self.threads > 1 and batch > 1:
            found += [{"micro": m, "streams": True, "all": True} for m in (1, 4)]
        return found

    def feed(self, docs):
        ids, mask = padded(docs)
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}

    def request(self, shape, setting):
        if not setting.get("static"):
            return self.dynamic
        if shape not in self.static:
            model = self.model.clone()
            model.reshape({name: shape for name in ("input_ids", "attention_mask", "token_type_ids")})
            self.static = dict(list(self.static.items())[1 - STATIC_SHAPES :])
            self.static[shape] = self.compiled(model, PERFORMANCE_HINT="LATENCY").create_infer_request()
        return self.static[shape]

    def run(self, docs, setting):
        if setting.get("streams"):
            return self.run_streams(docs, setting["micro"])
        feed = self.feed(docs)
        hidden = self.request(feed["input_ids"].shape, setting).infer(feed, share_inputs=True, share_outputs=True)[0]
        return self.pooled(hidden, feed["attention_mask"])

    def run_streams(self, docs, micro):
        if self.queue is None:
            model = self.compiled(self.model, PERFORMANCE_HINT="THROUGHPUT", NUM_STREAMS=self.threads)
            self.queue = self.openvino.AsyncInferQueue(model, self.threads)
            self.queue.set_callback(self.finished)
        self.rows = {}
        for i in range(0, len(docs), micro):
            feed = self.feed(docs[i : i + micro])
            self.queue.start_async(feed, (i, feed["attention_mask"]))
        self.queue.wait_all()
        return np.concatenate([self.rows[i] for i in sorted(self.rows)])

    def finished(self, request, job):
        self.rows[job[0]] = self.pooled(request.get_output_tensor(0).data, job[1])


class Torch(Engine):
    """What sentence-transformers runs, without it around."""

    def __init__(self, threads, models, kind):
        super().__init__(threads, models)
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self.torch = torch
        self.version = "torch %s, transformers %s" % (torch.__version__, transformers.__version__)
        model = transformers.BertModel.from_pretrained(
            self.file("hf"), add_pooling_layer=False, attn_implementation="sdpa", dtype=torch.bfloat16 if kind == "bf16" else torch.float32
        ).eval()
        if kind == "int8":
            model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
        self.model = model

    def run(self, docs, setting):
        ids, mask = padded(docs)
        same = mask.all()  # without a mask its attention takes a faster way
        with self.torch.inference_mode():
            hidden = self.model(
                input_ids=self.torch.from_numpy(ids), attention_mask=None if same else self.torch.from_numpy(mask)
            ).last_hidden_state.float()
        return self.pooled(hidden.numpy(), mask)


class LlamaCpp(Engine):
    SHORT, LONG = 512, 4096  # tokens of a batch

    def __init__(self, threads, models, file):
        super().__init__(threads, models)
        import llama_cpp

        self.lib = llama_cpp
        self.silent = llama_cpp.llama_log_callback(lambda *ignored: None)
        llama_cpp.llama_log_set(self.silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.version = "llama-cpp-python " + llama_cpp.__version__
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(self.file(file).encode(), params)
        if not self.model:
            raise RuntimeError("llama.cpp cannot load its file")
        self.dim = llama_cpp.llama_model_n_embd(self.model)
        self.contexts = {}

    def settings(self, batch, tokens):
        """More tokens together are slower: its attention is over the whole batch."""
        if batch == 1:
            return [{"micro": 1, "flash": flash} for flash in (True, False)]
        return [{"micro": m, "flash": True} for m in (1, 4, 16) if m <= batch and (m == 1 or m * tokens <= 1024)]

    def context(self, n_tokens, flash):
        key = (self.SHORT if n_tokens <= self.SHORT else self.LONG, flash)
        if key not in self.contexts:
            params = self.lib.llama_context_default_params()
            params.n_ctx = params.n_batch = params.n_ubatch = key[0]
            params.n_seq_max = 64
            params.kv_unified = True
            params.embeddings = True
            params.pooling_type = self.lib.LLAMA_POOLING_TYPE_MEAN if self.mean else self.lib.LLAMA_POOLING_TYPE_CLS
            params.n_threads = params.n_threads_batch = self.threads
            params.flash_attn_type = self.lib.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else self.lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
            context = self.lib.llama_init_from_model(self.model, params)
            if not context:
                raise RuntimeError("llama.cpp makes no context")
            self.contexts[key] = (context, self.lib.llama_batch_init(key[0], 0, 1))
        return self.contexts[key]

    def run(self, docs, setting):
        context, batch = self.context(sum(map(len, docs)), setting.get("flash", True))
        n = 0
        for i, doc in enumerate(docs):
            for position, token in enumerate(doc):
                batch.token[n] = token
                batch.pos[n] = position
                batch.n_seq_id[n] = 1
                batch.seq_id[n][0] = i
                batch.logits[n] = 1
                n += 1
        batch.n_tokens = n
        if self.lib.llama_encode(context, batch) != 0:
            raise RuntimeError("llama.cpp fails to encode")
        rows = [np.ctypeslib.as_array(self.lib.llama_get_embeddings_seq(context, i), shape=(self.dim,)) for i in range(len(docs))]
        return normalized(np.array(rows, np.float32))


class OpenVinoDecoder(Engine):
    """One document a call; peer_decoders.py's graph. Activations are quantized in groups of 64: of 128 and 1,024 it was slower."""

    def __init__(self, threads, models, file):
        super().__init__(threads, models)
        import openvino

        self.version = "openvino " + openvino.__version__
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
            "PERFORMANCE_HINT": "LATENCY",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 64,
        }
        self.request = openvino.Core().compile_model(self.file(file), "CPU", config).create_infer_request()

    def settings(self, batch, tokens):
        return [{"micro": 1}]

    def run(self, docs, setting):
        yes, no = self.request.infer({0: np.array(docs, np.int64)})[0].reshape(2)
        return np.array([[yes - no]], np.float32)


class LlamaDecoder(Engine):
    """One document a call, from an empty cache, in parts of 512 tokens; the logits of its last token."""

    PART = 512

    def __init__(self, threads, models, file):
        super().__init__(threads, models)
        import llama_cpp

        self.lib = llama_cpp
        self.silent = llama_cpp.llama_log_callback(lambda *ignored: None)
        llama_cpp.llama_log_set(self.silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.version = "llama-cpp-python " + llama_cpp.__version__
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(self.file(file).encode(), params)
        if not self.model:
            raise RuntimeError("llama.cpp cannot load its file")
        self.answers = json.load(open(self.file("model.json")))["answers"]
        self.room, self.context, self.batch = 0, None, None

    def settings(self, batch, tokens):
        return [{"micro": 1}]

    def make_context(self, n_tokens):
        if self.context:
            self.lib.llama_batch_free(self.batch)
            self.lib.llama_free(self.context)
        params = self.lib.llama_context_default_params()
        params.n_ctx = params.n_batch = self.room = max(n_tokens, self.PART)
        params.n_ubatch = self.PART
        params.n_threads = params.n_threads_batch = self.threads
        params.flash_attn_type = self.lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self.context = self.lib.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("llama.cpp makes no context")
        self.batch = self.lib.llama_batch_init(self.room, 0, 1)

    def run(self, docs, setting):
        doc = docs[0]
        if len(doc) > self.room:
            self.make_context(len(doc))
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        for i, token in enumerate(doc):
            self.batch.token[i] = token
            self.batch.pos[i] = i
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = 0
            self.batch.logits[i] = i == len(doc) - 1
        self.batch.n_tokens = len(doc)
        if self.lib.llama_decode(self.context, self.batch) != 0:
            raise RuntimeError("llama.cpp fails to decode")
        logits = self.lib.llama_get_logits_ith(self.context, -1)
        yes, no = (logits[i] for i in self.answers)
        return np.array([[yes - no]], np.float32)


class Nothing(Engine):
    """The harness alone: what to take off from the memory of the others."""

    version = "the harness alone"

    def run(self, docs, setting):
        return np.ones((len(docs), 1), np.float32)
