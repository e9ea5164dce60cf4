"""peer_decoders.py PART MODEL_DIR OUT: the peers' files from the directory of a Qwen3 reranker. PART:

openvino   int8.xml, int4.xml    a graph of OpenVINO's own operators, weights compressed by NNCF: 8 bits symmetric per row; 4 bits
                                 symmetric in groups of 128, in all layers
llama.cpp  q8_0.gguf, q4_0.gguf, q4_k_m.gguf    llama.cpp's quantizer, from a file in the precision of the weights

base       model.json (the shape), tokenizer.json

Both compute the two logits of the answers for the last token only; llama.cpp computes those of the whole vocabulary with them."""
import json
import os
import shutil
import struct
import sys

import numpy as np

if len(sys.argv) != 4 or sys.argv[1] not in ("base", "openvino", "llama.cpp"):
    raise SystemExit(__doc__)
part, source, out = sys.argv[1:]
config = json.load(open(os.path.join(source, "config.json")))
HIDDEN, LAYERS, HEADS = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
KV_HEADS, HEAD, WIDE = config["num_key_value_heads"], config["head_dim"], config["intermediate_size"]
EPS, THETA = config["rms_norm_eps"], config["rope_theta"]
LONGEST = 8192
ANSWERS = json.load(open(os.path.join(source, "1_LogitScore", "config.json")))


class Weights:
    """The tensors of a safetensors file, read when asked for."""

    def __init__(self, path):
        with open(path, "rb") as file:
            n = struct.unpack("<Q", file.read(8))[0]
            self.entries = json.loads(file.read(n))
        self.data = np.memmap(path, np.uint8, "r", 8 + n)

    def bits(self, name):
        entry = self.entries[name]
        assert entry["dtype"] == "BF16", "only BF16"
        begin, end = entry["data_offsets"]
        return self.data[begin:end].view("<u2").reshape(entry["shape"])

    def __getitem__(self, name):
        return (self.bits(name).astype(np.uint32) << 16).view(np.float32)


# ----------------------------------------------------------------- openvino


class Graph:
    """Norms, rotations and repeated keys are written as optimum-intel exports them, which is what OpenVINO's fusions look for."""

    def __init__(self, weights):
        from openvino import opset13

        self.op, self.w = opset13, weights
        angles = np.outer(np.arange(LONGEST), THETA ** (-np.arange(0, HEAD, 2) / HEAD))
        angles = np.concatenate([angles, angles], 1)[None, None]
        self.cosines, self.sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def i64(self, *x):
        return self.op.constant(np.array(x, np.int64))

    def f32(self, x):
        return self.op.constant(np.array(x, np.float32))

    def linear(self, x, name):
        return self.op.matmul(x, self.op.constant(self.w[name + ".weight"], name=name), False, True)

    def norm(self, x, name):
        o = self.op
        mean = o.reduce_mean(o.power(x, self.f32(2)), self.i64(-1), keep_dims=True)
        return o.multiply(self.op.constant(self.w[name + ".weight"]), o.multiply(x, o.divide(self.f32(1), o.sqrt(o.add(mean, self.f32(EPS))))))

    def heads(self, x, n, name=None):
        """[1, tokens, n * HEAD] -> [1, n, tokens, HEAD], each head normalized"""
        x = self.op.reshape(x, self.i64(0, 0, n, HEAD), True)
        return self.op.transpose(self.norm(x, name) if name else x, self.i64(0, 2, 1, 3))

    def until(self, x, axis, begin, end):
        return self.op.slice(x, self.i64(begin), end, self.i64(1), self.i64(axis))

    def rotated(self, x):
        o = self.op
        left, right = self.until(x, 3, 0, self.i64(HEAD // 2)), self.until(x, 3, HEAD // 2, self.i64(HEAD))
        turned = o.concat([o.multiply(right, self.f32(-1)), left], -1)
        return o.add(o.multiply(x, self.cos), o.multiply(turned, self.sin))

    def repeated(self, x):
        """Each key or value head once for each of its query heads."""
        o = self.op
        x = o.broadcast(o.unsqueeze(x, self.i64(2)), self.i64(1, 1, HEADS // KV_HEADS, 1, 1), broadcast_spec="BIDIRECTIONAL")
        return o.reshape(x, self.i64(0, HEADS, -1, HEAD), True)

    def layer(self, x, i):
        o, p = self.op, "model.layers.%d." % i
        y = self.norm(x, p + "input_layernorm")
        q = self.rotated(self.heads(self.linear(y, p + "self_attn.q_proj"), HEADS, p + "self_attn.q_norm"))
        k = self.rotated(self.heads(self.linear(y, p + "self_attn.k_proj"), KV_HEADS, p + "self_attn.k_norm"))
        v = self.heads(self.linear(y, p + "self_attn.v_proj"), KV_HEADS)
        y = o.scaled_dot_product_attention(q, self.repeated(k), self.repeated(v), causal=True)
        y = o.reshape(o.transpose(y, self.i64(0, 2, 1, 3)), self.i64(0, 0, HEADS * HEAD), True)
        if i == LAYERS - 1:
            x, y = self.last(x), self.last(y)
        x = o.add(x, self.linear(y, p + "self_attn.o_proj"))
        y = self.norm(x, p + "post_attention_layernorm")
        y = o.multiply(o.swish(self.linear(y, p + "mlp.gate_proj")), self.linear(y, p + "mlp.up_proj"))
        return o.add(x, self.linear(y, p + "mlp.down_proj"))

    def last(self, x):
        return self.op.gather(x, self.i64(-1), self.i64(1))

    def build(self):
        import openvino

        o = self.op
        ids = o.parameter([1, -1], np.int64, name="input_ids")
        length = o.gather(o.shape_of(ids), self.i64(1), self.i64(0))
        self.cos, self.sin = (self.until(o.constant(table), 2, 0, length) for table in (self.cosines, self.sines))
        words = self.w["model.embed_tokens.weight"]
        x = o.gather(o.constant(words, name="embed_tokens"), ids, self.i64(0))
        for i in range(LAYERS):
            x = self.layer(x, i)
        answers = o.constant(words[[ANSWERS["true_token_id"], ANSWERS["false_token_id"]]])
        return openvino.Model([o.matmul(self.norm(x, "model.norm"), answers, False, True)], [ids], "qwen3")


def openvino_files():
    import nncf
    import openvino

    ways = {
        "int8": {"mode": nncf.CompressWeightsMode.INT8_SYM},
        "int4": {"mode": nncf.CompressWeightsMode.INT4_SYM, "group_size": 128, "all_layers": True},
    }
    for name, way in ways.items():
        model = nncf.compress_weights(Graph(Weights(os.path.join(source, "model.safetensors"))).build(), **way)
        openvino.save_model(model, os.path.join(out, name + ".xml"), compress_to_fp16=False)


# ---------------------------------------------------------------- llama.cpp

GGUF_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GGUF_OTHER = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
GGUF_KINDS = {"q8_0": "Q8_0", "q4_0": "Q4_0", "q4_k_m": "Q4_K_M"}


def gguf_name(name):
    if name in GGUF_OTHER:
        return GGUF_OTHER[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return "blk.%s.%s.weight" % (layer, GGUF_LAYER[rest.removesuffix(".weight")])


def gguf_vocabulary(writer, n_rows):
    found = json.load(open(os.path.join(source, "tokenizer.json")))
    pieces = ["[PAD%d]" % i for i in range(n_rows)]
    types = [5] * n_rows  # unused
    for piece, i in found["model"]["vocab"].items():
        pieces[i], types[i] = piece, 1
    for token in found["added_tokens"]:
        pieces[token["id"]], types[token["id"]] = token["content"], 3
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(pieces)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in found["model"]["merges"]])
    writer.add_uint32("tokenizer.ggml.eos_token_id", pieces.index("<|im_end|>"))


def gguf_files():
    import gguf
    import llama_cpp

    weights = Weights(os.path.join(source, "model.safetensors"))
    whole = os.path.join(out, "bf16.gguf")
    writer = gguf.GGUFWriter(whole, "qwen3")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(WIDE)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(EPS)
    writer.add_rope_freq_base(THETA)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    gguf_vocabulary(writer, config["vocab_size"])
    for name in weights.entries:
        if name == "__metadata__":
            continue
        if len(weights.entries[name]["shape"]) == 1:
            writer.add_tensor(gguf_name(name), weights[name])
        else:
            bits = np.ascontiguousarray(weights.bits(name))
            writer.add_tensor(gguf_name(name), bits.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for name, kind in GGUF_KINDS.items():
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + kind)
        if llama_cpp.llama_model_quantize(whole.encode(), os.path.join(out, name + ".gguf").encode(), params) != 0:
            raise SystemExit("llama.cpp could not quantize to " + kind)
    os.remove(whole)


def base_files():
    shutil.copy(os.path.join(source, "tokenizer.json"), out)
    shape = {"pooling": "last", "hidden": HIDDEN, "layers": LAYERS, "heads": HEADS, "kv_heads": KV_HEADS, "head_size": HEAD, "intermediate": WIDE}
    json.dump(dict(shape, answers=[ANSWERS["true_token_id"], ANSWERS["false_token_id"]]), open(os.path.join(out, "model.json"), "w"))


assert config["model_type"] == "qwen3" and config["tie_word_embeddings"], "only Qwen3 with tied embeddings"
os.makedirs(out, exist_ok=True)
{"base": base_files, "openvino": openvino_files, "llama.cpp": gguf_files}[part]()
