"""peer_models.py MODEL_DIR CALIBRATION_IDS OUT: the peers' files from one BERT model directory of the hub.

fp32.onnx   the graph as an eager export has it (plain operators, opset 17)
int8.onnx   ONNX Runtime's dynamic quantization of it: signed weights per channel, as fastembed and others ship
fp32.xml    the same graph in OpenVINO's form
int8.xml    NNCF's post-training quantization of it: SmoothQuant and fast bias correction, on the calibration documents
model.json  pooling and shape"""
import json
import os
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

source, calibration, out = sys.argv[1:4]
config = json.load(open(os.path.join(source, "config.json")))
HIDDEN, LAYERS, HEADS = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
EPS = config.get("layer_norm_eps", 1e-12)


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
        positions = self.op("Slice", self.const(self.w[e + "position_embeddings.weight"]), self.i64(0), length, self.i64(0))
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


def onnxruntime_int8(fp32, int8):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    extra = {"MatMulConstBOnly": True, "DefaultTensorType": 1}
    quantize_dynamic(fp32, int8, per_channel=True, reduce_range=False, weight_type=QuantType.QInt8, extra_options=extra)


def openvino_files(onnx_path):
    import nncf
    import openvino

    model = openvino.Core().read_model(onnx_path)
    openvino.save_model(model, os.path.join(out, "fp32.xml"), compress_to_fp16=False)
    docs = [np.array([ids], np.int64) for ids in json.load(open(calibration))]
    feed = lambda ids: {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    advanced = nncf.AdvancedQuantizationParameters(smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=0.95))
    quantized = nncf.quantize(
        model, nncf.Dataset(docs, feed), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(docs), fast_bias_correction=True, advanced_parameters=advanced
    )
    openvino.save_model(quantized, os.path.join(out, "int8.xml"), compress_to_fp16=False)


assert config.get("hidden_act", "gelu") == "gelu", "only gelu"
os.makedirs(out, exist_ok=True)
fp32 = os.path.join(out, "fp32.onnx")
weights = read_safetensors(os.path.join(source, "model.safetensors"))
onnx.save(Graph(weights).build(), fp32)
onnxruntime_int8(fp32, os.path.join(out, "int8.onnx"))
openvino_files(fp32)
shape = {"pooling": pooling(), "hidden": HIDDEN, "layers": LAYERS, "heads": HEADS, "intermediate": config["intermediate_size"]}
json.dump(shape, open(os.path.join(out, "model.json"), "w"))
