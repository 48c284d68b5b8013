"""Training of `emotion.text` tiny: hashed TF-IDF, ridge per axis, an int8 table in ONNX (systems S3).

python -m moodmesh.tasks.emotion.text.train_tiny configs/training/emotion-text-tiny.toml --data DIR --out FILE
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge

from moodmesh.tasks.emotion.text import calibration, data, ngrams

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TinyRecipe:
    """`alpha`: the ridge penalty per axis V, A, D."""

    name: str
    alpha: tuple[float, float, float]

    @property
    def sha256(self) -> str:
        """Names the recipe in cached predictions."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class TinyModel:
    """Table rows per bucket: V, A, D weights in z units and idf; `log_sd` is of `calibration.fit`."""

    table: Floats
    bias: Floats
    mean: Floats
    sd: Floats
    log_sd: Floats

    def predict(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """V, A, D and their sd on the scale of S1, in fp64: what the ONNX file approximates."""
        x = counts_matrix(texts)
        z = self.scores(x)
        spread = calibration.sd(self.log_sd, z, _lengths(x))
        return z * self.sd + self.mean, spread * self.sd

    def scores(self, x: csr_matrix) -> Floats:
        """z scores [n, 3] from counts [n, BUCKETS]."""
        return np.asarray(_normed(x, self.table[:, 3]) @ self.table[:, :3] + self.bias)


def load_recipe(file: Path) -> TinyRecipe:
    """Read a recipe; TypeError names an unknown key."""
    values = tomllib.loads(file.read_text(encoding="utf-8"))
    return TinyRecipe(**values | {"alpha": tuple(values["alpha"])})


def train(recipe: TinyRecipe, split: data.Split) -> TinyModel:
    """Ridge on the training rows; the sd is fitted on predictions for documents left out in turn."""
    x, vad = counts_matrix([row.text for row in split.train]), np.array([row.vad for row in split.train])
    model = _fit(recipe, x, vad)
    numbers = {row.id: n for n, row in enumerate(split.train)}
    z, truth = np.zeros_like(vad), np.zeros_like(vad)
    for inner in data.document_folds(split.train):
        fit, held = ([numbers[row.id] for row in side] for side in (inner.train, inner.held))
        part = _fit(recipe, x[fit], vad[fit])
        z[held], truth[held] = part.scores(x[held]), (vad[held] - part.mean) / part.sd
    return replace(model, log_sd=calibration.fit(z, _lengths(x), truth))


def _fit(recipe: TinyRecipe, x: csr_matrix, vad: Floats) -> TinyModel:
    mean, sd = vad.mean(0), vad.std(0)
    idf = np.log((1 + x.shape[0]) / (1 + np.asarray((x > 0).sum(0)).ravel())) + 1
    seen = np.unique(x.indices)  # all other buckets keep weight 0
    scaled, z = _normed(x, idf)[:, seen], (vad - mean) / sd
    fits = [Ridge(alpha=alpha, solver="sparse_cg", tol=1e-4).fit(scaled, z[:, n]) for n, alpha in enumerate(recipe.alpha)]
    table = np.column_stack([np.zeros((len(idf), 3)), idf])
    table[seen, :3] = np.column_stack([fit.coef_ for fit in fits])
    return TinyModel(table, np.array([fit.intercept_ for fit in fits]), mean, sd, np.zeros((5, 3)))


def counts_matrix(texts: Sequence[str]) -> csr_matrix:
    """Sublinear counts [n, BUCKETS]."""
    found = [ngrams.counts(text) for text in texts]
    ends = np.cumsum([0, *map(len, found)])
    columns = np.fromiter((row for grams in found for row in grams), np.int64)
    values = np.fromiter((count for grams in found for count in grams.values()), np.float64)
    return csr_matrix((values, columns, ends), shape=(len(texts), ngrams.BUCKETS))


def _normed(x: csr_matrix, idf: Floats) -> csr_matrix:
    weighted = x.multiply(idf).tocsr()
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1))).ravel()
    return weighted.multiply(1 / length[:, None]).tocsr()


def _lengths(x: csr_matrix) -> Floats:
    return np.asarray(np.diff(x.indptr), np.float64)


def save_onnx(model: TinyModel, file: Path) -> None:
    """Inputs rows [g] int64 and counts [g] of one text; outputs mean [3] and sd [3]. The table is int8, a step per column."""
    step = np.abs(model.table).max(0) / 127
    table = np.round(model.table / step).astype(np.int8)
    constants = {
        "table": table,
        "step": step.astype(np.float32),
        "bias": model.bias.astype(np.float32),
        "target_mean": model.mean.astype(np.float32),
        "target_sd": model.sd.astype(np.float32),
        "log_sd": model.log_sd.astype(np.float32),
        "weights_at": np.array([0, 1, 2], np.int64),
        "idf_at": np.array(3, np.int64),
        "one": np.ones(1, np.float32),
        "first": np.array([0], np.int64),
        "low": np.array(-1, np.float32),
        "high": np.array(1, np.float32),
    }
    nodes = [
        _node("Gather", ["table", "rows"], "coded", axis=0),
        _node("Cast", ["coded"], "codes", to=TensorProto.FLOAT),
        _node("Mul", ["codes", "step"], "entries"),
        _node("Gather", ["entries", "weights_at"], "weights", axis=1),
        _node("Gather", ["entries", "idf_at"], "idf", axis=1),
        _node("Mul", ["counts", "idf"], "x"),
        _node("ReduceL2", ["x", "first"], "norm", keepdims=1),
        _node("Div", ["x", "norm"], "share"),
        _node("MatMul", ["share", "weights"], "summed"),
        _node("Add", ["summed", "bias"], "z"),
        _node("Shape", ["rows"], "size"),
        _node("Cast", ["size"], "length", to=TensorProto.FLOAT),
        *head_nodes(),
    ]
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    inputs = [
        helper.make_tensor_value_info("rows", TensorProto.INT64, ["g"]),
        helper.make_tensor_value_info("counts", TensorProto.FLOAT, ["g"]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("mean", "sd")]
    graph = helper.make_graph(nodes, "emotion-text-tiny", inputs, outputs, values)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(made)
    file.write_bytes(made.SerializeToString())


def head_nodes() -> list[onnx.NodeProto]:
    """From z [3] and length [1] to mean and sd: `calibration.sd` as a graph."""
    return [
        _node("Mul", ["z", "target_sd"], "scaled"),
        _node("Add", ["scaled", "target_mean"], "open_mean"),
        _node("Clip", ["open_mean", "low", "high"], "mean"),
        _node("Abs", ["z"], "extreme"),
        _node("Add", ["length", "one"], "length1"),
        _node("Log", ["length1"], "log_length"),
        _node("Concat", ["one", "extreme", "log_length"], "features", axis=0),
        _node("MatMul", ["features", "log_sd"], "log_spread"),
        _node("Exp", ["log_spread"], "spread"),
        _node("Mul", ["spread", "target_sd"], "sd"),
    ]


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], name=output, **attributes)


def main() -> None:
    """Train on the official train part and write the ONNX file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    split = data.dev_split(data.emobank(data.data_dir(args.data)))
    print(f"split {split.sha256} train {len(split.train)} held {len(split.held)}")
    save_onnx(train(load_recipe(args.recipe), split), args.out)


if __name__ == "__main__":
    main()
