"""A fitted judge as an ONNX file: figures in, P(high) of arousal and valence out (design §6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from moodmesh.tasks.music.judge.heard import Floats


def save(models: list[list[Any]], file: Path) -> None:
    """Write what `Candidate.fit` gave for logistic and kernel models: pairs for arousal and valence, averaged."""
    nodes, constants = list[Any](), dict[str, Floats]()
    for number, pair in enumerate(models):
        name = f"{number}"
        scale = pair[0][0]
        constants |= {f"mean{name}": scale.mean_, f"sd{name}": scale.scale_}
        nodes += [_node("Sub", ["x", f"mean{name}"], f"off{name}"), _node("Div", [f"off{name}", f"sd{name}"], f"z{name}")]
        into = f"z{name}"
        weights = [model[-1].coef_[0] for model in pair]
        if len(pair[0]) == 3:
            spread = pair[0][1]
            nodes += _kernel(into, name)
            centres = spread.components_
            constants |= {f"centres{name}": centres.T, f"norm{name}": (centres**2).sum(1), f"two{name}": np.array(2.0)}
            constants[f"gamma{name}"] = np.array(-spread.gamma)
            weights = [model[1].normalization_.T @ row for model, row in zip(pair, weights, strict=True)]
            into = f"near{name}"
        constants |= {f"w{name}": np.column_stack(weights), f"b{name}": np.array([model[-1].intercept_[0] for model in pair])}
        nodes += [_node("Gemm", [into, f"w{name}", f"b{name}"], f"logit{name}"), _node("Sigmoid", [f"logit{name}"], f"p{name}")]
    nodes.append(_node("Mean", [f"p{number}" for number in range(len(models))], "high"))
    _write(nodes, constants, models[0][0][0].n_features_in_, file)


def _kernel(z: str, name: str) -> list[Any]:
    """exp(-gamma |z - centre|²), as |z|² + |centre|² - 2 z·centre."""
    return [
        helper.make_node("ReduceSumSquare", [z], [f"zz{name}"], axes=[1], keepdims=1),
        _node("MatMul", [z, f"centres{name}"], f"zc{name}"),
        _node("Mul", [f"zc{name}", f"two{name}"], f"zc2{name}"),
        _node("Add", [f"zz{name}", f"norm{name}"], f"sum{name}"),
        _node("Sub", [f"sum{name}", f"zc2{name}"], f"far{name}"),
        _node("Mul", [f"far{name}", f"gamma{name}"], f"log{name}"),
        _node("Exp", [f"log{name}"], f"near{name}"),
    ]


def _node(kind: str, inputs: list[str], output: str) -> Any:
    return helper.make_node(kind, inputs, [output])


def _write(nodes: list[Any], constants: dict[str, Floats], figures: int, file: Path) -> None:
    held = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", figures])
    gives = helper.make_tensor_value_info("high", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "judge", [takes], [gives], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())
