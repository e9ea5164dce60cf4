"""peer_models.py PART MODEL_DIR CALIBRATION_IDS OUT: the peers' files from one BERT or XLM-RoBERTa model directory of the hub. PART:

onnxruntime  fp32.onnx   the graph as an eager export has it (plain operators, opset 17)
             int8.onnx   ONNX Runtime's dynamic quantization of it: signed weights per channel, as fastembed and others ship
openvino     fp32.xml    the same graph in OpenVINO's form
             int8.xml    NNCF's post-training quantization of it: SmoothQuant and fast bias correction, on the calibration documents
llama.cpp    q8_0.gguf   llama.cpp's 8 bits

base         model.json (pooling and shape), tokenizer.json

torch reads the directory itself."""
import json
import os
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if len(sys.argv) != 5 or sys.argv[1] not in ("base", "onnxruntime", "openvino", "llama.cpp"):
    raise SystemExit(__doc__)
part, source, calibration, out = sys.argv[1:]
config = json.load(open(os.path.join(source, "config.json")))
HIDDEN, LAYERS, HEADS = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
EPS = config.get("layer_norm_eps", 1e-12)
# XLM-RoBERTa's tokens use the position rows after the padding's row
FIRST_POSITION = config["pad_token_id"] + 1 if config["model_type"] == "xlm-roberta" else 0


def read_safetensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = data[8 + n + begin : 8 + n + end]
        if entry["dtype"] == "F32":
            x = np.frombuffer(raw, "<f4")
        elif entry["dtype"] == "F16":
            x = np.frombuffer(raw, "<f2").astype(np.float32)
        elif entry["dtype"] == "BF16":
            x = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            continue
        name = name[5:] if name.startswith("bert.") else name
        tensors[name] = x.reshape(entry["shape"])
    return tensors


def pooling():
    path = os.path.join(source, "1_Pooling", "config.json")
    modes = json.load(open(path)) if os.path.exists(path) else {}
    return "cls" if modes.get("pooling_mode_cls_token") else "mean"


class Graph:
    def __init__(self, weights):
        self.w = weights
        self.nodes, self.init, self.n = [], [], 0

    def const(self, value, name=None):
        self.n += 1
        name = name or "const_%d" % self.n
        self.init.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind, *inputs, **attributes):
        self.n += 1
        name = "%s_%d" % (kind, self.n)
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def linear(self, x, key):
        y = self.op("MatMul", x, self.const(self.w[key + ".weight"].T, key + ".weight_t"))
        return self.op("Add", y, self.const(self.w[key + ".bias"], key + ".bias"))

    def norm(self, x, key):
        return self.op("LayerNormalization", x, self.const(self.w[key + ".weight"]), self.const(self.w[key + ".bias"]), axis=-1, epsilon=EPS)

    def f32(self, x):
        return self.const(np.array(x, np.float32))

    def i64(self, *x):
        return self.const(np.array(x, np.int64))

    def gelu(self, x):
        erf = self.op("Erf", self.op("Div", x, self.f32(np.sqrt(2))))
        return self.op("Mul", self.op("Mul", x, self.op("Add", erf, self.f32(1))), self.f32(0.5))

    def embeddings(self):
        length = self.op("Gather", self.op("Shape", "input_ids"), self.i64(1), axis=0)
        e = "embeddings."
        words = self.op("Gather", self.const(self.w[e + "word_embeddings.weight"]), "input_ids")
        types = self.op("Gather", self.const(self.w[e + "token_type_embeddings.weight"]), "token_type_ids")
        positions = self.op("Slice", self.const(self.w[e + "position_embeddings.weight"][FIRST_POSITION:]), self.i64(0), length, self.i64(0))
        return self.norm(self.op("Add", self.op("Add", words, types), positions), e + "LayerNorm")

    def heads(self, x):
        x = self.op("Reshape", x, self.i64(0, 0, HEADS, HIDDEN // HEADS))
        return self.op("Transpose", x, perm=[0, 2, 1, 3])

    def layer(self, x, i, mask):
        p = "encoder.layer.%d." % i
        q, k, v = (self.heads(self.linear(x, p + "attention.self." + n)) for n in ("query", "key", "value"))
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.op("Add", self.op("Div", scores, self.f32(np.sqrt(HIDDEN // HEADS))), mask)
        context = self.op("MatMul", self.op("Softmax", scores, axis=-1), v)
        context = self.op("Reshape", self.op("Transpose", context, perm=[0, 2, 1, 3]), self.i64(0, 0, HIDDEN))
        x = self.norm(self.op("Add", self.linear(context, p + "attention.output.dense"), x), p + "attention.output.LayerNorm")
        y = self.linear(self.gelu(self.linear(x, p + "intermediate.dense")), p + "output.dense")
        return self.norm(self.op("Add", y, x), p + "output.LayerNorm")

    def build(self):
        mask = self.op("Cast", self.op("Unsqueeze", "attention_mask", self.i64(1, 2)), to=TensorProto.FLOAT)
        mask = self.op("Mul", self.op("Sub", self.f32(1), mask), self.f32(-10000))
        x = self.embeddings()
        for i in range(LAYERS):
            x = self.layer(x, i, mask)
        self.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
        ints = [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "s"]) for n in ("input_ids", "attention_mask", "token_type_ids")]
        result = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["b", "s", HIDDEN])
        graph = helper.make_graph(self.nodes, "bert", ints, [result], self.init)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def plain_graph():
    path = os.path.join(out, "fp32.onnx")
    if not os.path.exists(path):
        onnx.save(Graph(read_safetensors(os.path.join(source, "model.safetensors"))).build(), path + ".tmp")
        os.rename(path + ".tmp", path)
    return path


def onnxruntime_files():
    from onnxruntime.quantization import QuantType, quantize_dynamic

    extra = {"MatMulConstBOnly": True, "DefaultTensorType": 1}
    quantize_dynamic(
        plain_graph(), os.path.join(out, "int8.onnx"), per_channel=True, reduce_range=False, weight_type=QuantType.QInt8, extra_options=extra
    )


def openvino_files():
    import nncf
    import openvino

    model = openvino.Core().read_model(plain_graph())
    openvino.save_model(model, os.path.join(out, "fp32.xml"), compress_to_fp16=False)
    docs = [np.array([ids], np.int64) for ids in json.load(open(calibration))]
    feed = lambda ids: {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    advanced = nncf.AdvancedQuantizationParameters(smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=0.95))
    quantized = nncf.quantize(
        model, nncf.Dataset(docs, feed), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(docs), fast_bias_correction=True, advanced_parameters=advanced
    )
    openvino.save_model(quantized, os.path.join(out, "int8.xml"), compress_to_fp16=False)


GGUF_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
GGUF_EMBEDDING = {
    "word_embeddings": "token_embd",
    "position_embeddings": "position_embd",
    "token_type_embeddings": "token_types",
    "LayerNorm": "token_embd_norm",
}


def gguf_name(name):
    """The tensor's name in a GGUF file; None for what llama.cpp does not read."""
    stem, leaf = name.rsplit(".", 1)
    if stem.startswith("embeddings.") and stem[11:] in GGUF_EMBEDDING:
        return "%s.%s" % (GGUF_EMBEDDING[stem[11:]], leaf)
    if stem.startswith("encoder.layer."):
        layer, rest = stem[14:].split(".", 1)
        return "blk.%s.%s.%s" % (layer, GGUF_LAYER[rest], leaf)
    return None


def gguf_vocabulary(writer, special):
    """Pieces in llama.cpp's form: a word's first piece after U+2581, others bare. Nothing here tokenizes with them."""
    pieces = tokenizer()["model"]["vocab"]
    pieces = sorted(pieces, key=pieces.get)
    control = [p in special for p in pieces]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    writer.add_token_list([p if c else p[2:] if p.startswith("##") else "\u2581" + p for p, c in zip(pieces, control)])
    writer.add_token_types([3 if c else 1 for c in control])
    for key, piece in (("unknown", "[UNK]"), ("seperator", "[SEP]"), ("padding", "[PAD]"), ("cls", "[CLS]"), ("mask", "[MASK]")):
        writer.add_uint32("tokenizer.ggml.%s_token_id" % key, pieces.index(piece))
    writer.add_uint32("tokenizer.ggml.bos_token_id", pieces.index("[CLS]"))
    writer.add_uint32("tokenizer.ggml.eos_token_id", pieces.index("[SEP]"))


def gguf_file():
    import gguf
    import llama_cpp

    half = os.path.join(out, "f16.gguf")
    writer = gguf.GGUFWriter(half, "bert")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(EPS)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN if pooling() == "mean" else gguf.PoolingType.CLS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_token_type_count(config["type_vocab_size"])
    gguf_vocabulary(writer, {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"})
    for name, x in read_safetensors(os.path.join(source, "model.safetensors")).items():
        name = gguf_name(name)
        if name is None:
            continue
        small = x.ndim < 2 or name in ("position_embd.weight", "token_types.weight")
        writer.add_tensor(name, x.astype(np.float32 if small else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    if llama_cpp.llama_model_quantize(half.encode(), os.path.join(out, "q8_0.gguf").encode(), params) != 0:
        raise SystemExit("llama.cpp could not quantize")
    os.remove(half)


def tokenizer():
    """The tokenizer.json of the model; without one, its vocab.txt says all."""
    path = os.path.join(source, "tokenizer.json")
    if os.path.exists(path):
        return json.load(open(path))
    from tokenizers import BertWordPieceTokenizer

    return json.loads(BertWordPieceTokenizer(os.path.join(source, "vocab.txt"), lowercase=True).to_str())


def base_files():
    json.dump(tokenizer(), open(os.path.join(out, "tokenizer.json"), "w"))
    shape = {"pooling": pooling(), "hidden": HIDDEN, "layers": LAYERS, "heads": HEADS, "intermediate": config["intermediate_size"]}
    json.dump(shape, open(os.path.join(out, "model.json"), "w"))


assert config.get("hidden_act", "gelu") == "gelu", "only gelu"
os.makedirs(out, exist_ok=True)
{"base": base_files, "onnxruntime": onnxruntime_files, "openvino": openvino_files, "llama.cpp": gguf_file}[part]()
