"""From a trained base model to the file that ships: ONNX, int8, with its tokeniser inside (systems S30)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from moodmesh.tasks.emotion.text.encoder import EncoderConfig, TextModel
from moodmesh.tasks.emotion.text.train import averaged


class Shipped(nn.Module):
    """The model as a node runs it: tokens [1, t] of one text -> mean [1, 3] in -1 to 1 and sd [1, 3]."""

    def __init__(self, model: TextModel, scale: dict[str, Tensor]) -> None:
        super().__init__()
        self.model = model
        self.target_mean, self.target_sd, self.log_sd = (nn.Buffer(scale[f"scale.{name}"]) for name in ("mean", "sd", "log_sd"))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Means clipped to the scale; the sd of `calibration.sd`."""
        z = _product(self.model.pooled(tokens), self.model.vad.weight) + self.model.vad.bias
        length = torch.full_like(z[:, :1], 1.0) * tokens.shape[1]
        features = torch.cat([torch.ones_like(length), z.abs(), torch.log1p(length)], dim=1)
        mean = (z * self.target_sd + self.target_mean).clamp(-1, 1)
        return mean, torch.exp(_product(features, self.log_sd.T)) * self.target_sd


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T` in a form that the quantiser leaves in fp32: the heads are small and decide everything."""
    return (x[:, None, :] * weight).sum(-1)


def load(files: Sequence[Path], config: EncoderConfig, widening: Sequence[float] = (1, 1, 1)) -> Shipped:
    """A trained model, or the average of several, its sd times a factor per axis."""
    model, scale = averaged(files, config)
    scale["scale.log_sd"][0] += torch.log(torch.tensor(widening))
    return Shipped(model, scale).eval()


def save_fp32(shipped: Shipped, tokenizer: Path, file: Path) -> None:
    """Write the model as fp32 ONNX with the tokeniser in its metadata."""
    tokens = torch.zeros(1, 12, dtype=torch.long)
    dynamic = ({1: torch.export.Dim("t", min=2, max=shipped.model.config.positions)},)
    program = torch.onnx.export(
        shipped, (tokens,), input_names=["tokens"], output_names=["moods", "moods_sd"], dynamic_shapes=dynamic, dynamo=True
    )
    assert program is not None
    program.save(str(file))
    made = onnx.load(file)
    onnx.helper.set_model_props(made, {"tokenizer": tokenizer.read_text(encoding="utf-8")})
    onnx.save(made, file)


def save_int8(fp32: Path, file: Path) -> None:
    """Quantise matrices and embeddings per channel; 7-bit range, because 8 bits overflow on CPUs without VNNI."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "model.onnx"
        quantize_dynamic(
            fp32,
            plain,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        made = onnx.load(plain)
    props = {entry.key: entry.value for entry in onnx.load(fp32, load_external_data=False).metadata_props}
    onnx.helper.set_model_props(made, props)
    onnx.save(made, file)
