"""The ONNX graphs of a composer, written from its weights: the decoder's step, and what a description puts into its memory.

`step`: `tokens` [1, n] after `past` tokens in the caches -> `logits` [1, 923] of the token that comes next. The caches
`k{i}`, `v{i}` [1, kv_heads, room, HEAD] are preallocated and grow in place: each is bound as input and output alike.
`tell`: `told` [1, DESCRIBED] -> `mk{i}`, `mv{i}` [1, heads, TOKENS, HEAD], the keys and values every layer's memory holds.
Weights are kept as fp16 and computed with as fp32, or as int8 in blocks of 32 with a scale each (systems S30).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from moodmesh.tasks.music.engine.playing import MAX_BAR
from moodmesh.tasks.music.model.conditioned import TOKENS
from moodmesh.tasks.music.model.decoder import HEAD, ROTARY_BASE, Size
from moodmesh.tasks.music.notation.tokens import WINDOW
from moodmesh.tasks.music.notation.vocabulary import SIZE as VOCABULARY
from moodmesh.tasks.music.rules.attributes import DESCRIBED

ROOM = WINDOW + MAX_BAR + 4
"""Tokens that the caches hold: as many as a composer learned to look back on, and the longest bar that may begin after them."""
BLOCK = 32
"""Weights that share a scale in int8."""
_MS = "com.microsoft"
Weights = Mapping[str, NDArray[np.float32]]


class _Writer:
    """Collects the nodes and constants of one graph."""

    def __init__(self, int8: bool) -> None:
        self.int8, self.nodes, self.held, self._made = int8, list[onnx.NodeProto](), list[TensorProto](), 0

    def op(self, kind: str, inputs: Sequence[str], outputs: Sequence[str] = (), domain: str = "", **attributes: Any) -> str:
        """Add a node; the name of its first output."""
        self._made += 1
        named = list(outputs) or [f"x{self._made}"]
        self.nodes.append(helper.make_node(kind, list(inputs), named, domain=domain, **attributes))
        return named[0]

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """A constant; floats are stored as fp16 and cast when the graph is loaded."""
        if value.dtype == np.float32 and value.ndim:
            self.held.append(numpy_helper.from_array(value.astype(np.float16), f"{name}.h"))
            return self.op("Cast", [f"{name}.h"], [name], to=TensorProto.FLOAT)
        self.held.append(numpy_helper.from_array(value, name))
        return name

    def matmul(self, x: str, name: str, weight: NDArray[np.float32], rows: int = BLOCK) -> str:
        """x times the transpose of weight [out, in]."""
        if not self.int8:
            return self.op("MatMul", [x, self.constant(name, np.ascontiguousarray(weight.T))])
        packed, scales = quantised(weight)
        self.held += [numpy_helper.from_array(packed, f"{name}.q"), numpy_helper.from_array(scales, f"{name}.s")]
        sizes = {"K": weight.shape[1], "N": weight.shape[0], "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
        return self.op("MatMulNBits", [x, f"{name}.q", f"{name}.s"], domain=_MS, **sizes)

    def model(self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> bytes:
        """The finished file."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.held)
        sets = [helper.make_opsetid("", 20), helper.make_opsetid(_MS, 1)]
        made = helper.make_model(graph, opset_imports=sets, ir_version=9, producer_name="moodmesh")
        content: bytes = made.SerializeToString(deterministic=True)
        return content


def quantised(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Weight [out, in] in blocks of 32 along `in`: uint8 about 128 [out, blocks, 32], and scales [out, blocks]."""
    blocks = weight.reshape(weight.shape[0], -1, BLOCK)
    scales = np.maximum(np.abs(blocks).max(2) / 127, 1e-8).astype(np.float32)
    return (np.rint(blocks / scales[..., None]) + 128).astype(np.uint8), scales


def step(weights: Weights, size: Size, int8: bool) -> bytes:
    """The graph that continues a piece."""
    w = _Writer(int8)
    x = w.op("Gather", [w.constant("embed", weights["decoder.embed.weight"]), "tokens"])
    angle = np.arange(ROOM)[:, None] * ROTARY_BASE ** (-np.arange(0, HEAD, 2) / HEAD)
    for name, value in (("cos", np.cos(angle)), ("sin", np.sin(angle))):
        w.held.append(numpy_helper.from_array(value.astype(np.float32), name))
    for number in range(size.layers):
        layer = {name.removeprefix(f"decoder.layers.{number}."): one for name, one in weights.items()}
        x = _layer(w, layer, size, number, x)
    w.constant("last", np.array([-1], np.int64))
    x = w.op("Gather", [x, "last"], axis=1)
    x = _norm(w, x, "norm", weights["decoder.norm.weight"])
    w.constant("flat", np.array([1, VOCABULARY], np.int64))
    w.op("Reshape", [w.matmul(x, "logits.w", weights["decoder.logits.weight"]), "flat"], ["logits"])
    cache = [1, size.kv_heads, ROOM, HEAD]
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "n"]),
        helper.make_tensor_value_info("last_place", TensorProto.INT32, [1]),
        helper.make_tensor_value_info("places", TensorProto.INT32, [1]),
    ]
    inputs += [_float(f"{part}{n}", cache) for n in range(size.layers) for part in "kv"]
    inputs += [_float(f"m{part}{n}", [1, size.heads, TOKENS, HEAD]) for n in range(size.layers) for part in "kv"]
    outputs = [_float("logits", [1, VOCABULARY])]
    outputs += [_float(f"{part}{n}_grown", cache) for n in range(size.layers) for part in "kv"]
    return w.model("step", inputs, outputs)


def _layer(w: _Writer, layer: Weights, size: Size, n: int, x: str) -> str:
    y = _norm(w, x, f"n0.{n}", layer["norms.0.weight"])
    qkv = np.concatenate([layer[f"tokens.{part}.weight"] for part in "qkv"])
    mixed = w.op(
        "GroupQueryAttention",
        [w.matmul(y, f"qkv.{n}", qkv), "", "", f"k{n}", f"v{n}", "last_place", "places", "cos", "sin"],
        [f"a{n}", f"k{n}_grown", f"v{n}_grown"],
        domain=_MS,
        num_heads=size.heads,
        kv_num_heads=size.kv_heads,
        do_rotary=1,
    )
    x = w.op("Add", [x, w.matmul(mixed, f"out.{n}", layer["tokens.out.weight"])])
    y = w.matmul(_norm(w, x, f"n1.{n}", layer["norms.1.weight"]), f"mq.{n}", layer["memory.q.weight"])
    y = w.op("MultiHeadAttention", [y, f"mk{n}", f"mv{n}"], domain=_MS, num_heads=size.heads)
    x = w.op("Add", [x, w.matmul(y, f"mout.{n}", layer["memory.out.weight"])])
    y = w.matmul(_norm(w, x, f"n2.{n}", layer["norms.2.weight"]), f"up.{n}", layer["feed.0.weight"])
    y = w.op("FastGelu", [y, w.constant(f"up.b.{n}", layer["feed.0.bias"])], domain=_MS)
    y = w.op("Add", [w.matmul(y, f"down.{n}", layer["feed.2.weight"]), w.constant(f"down.b.{n}", layer["feed.2.bias"])])
    return w.op("Add", [x, y])


def _norm(w: _Writer, x: str, name: str, weight: NDArray[np.float32]) -> str:
    return w.op("LayerNormalization", [x, w.constant(name, weight)], axis=-1, epsilon=1e-5)


def _float(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def tell(weights: Weights, size: Size) -> bytes:
    """The graph that makes the memory of one description; small, and always fp32."""
    w = _Writer(int8=False)
    x = w.op("Add", [w.matmul("told", "in", weights["tell.0.weight"]), w.constant("in.b", weights["tell.0.bias"])])
    x = w.op("Gelu", [x], approximate="tanh")
    x = w.op("Add", [w.matmul(x, "out", weights["tell.2.weight"]), w.constant("out.b", weights["tell.2.bias"])])
    w.constant("rows", np.array([1, TOKENS, size.width], np.int64))
    w.constant("heads", np.array([1, TOKENS, size.heads, HEAD], np.int64))
    memory = w.op("Reshape", [x, "rows"])
    for n in range(size.layers):
        for part in "kv":
            y = w.matmul(memory, f"{part}{n}", weights[f"decoder.layers.{n}.memory.{part}.weight"])
            w.op("Transpose", [w.op("Reshape", [y, "heads"])], [f"m{part}{n}"], perm=[0, 2, 1, 3])
    outputs = [_float(f"m{part}{n}", [1, size.heads, TOKENS, HEAD]) for n in range(size.layers) for part in "kv"]
    return w.model("tell", [_float("told", [1, DESCRIBED])], outputs)
