"""The same model in ONNX Runtime: the graph that PyTorch exports, at ONNX Runtime's full optimisation."""

import importlib
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitref.benchmark import torch_eager
from vitref.benchmark.case import Case, Problem

OPSET = 17
"""The first with LayerNormalization as one operator."""


def build(problem: Problem, case: Case) -> Callable[[], Any]:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(problem, path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": problem.image})[0]


def export(problem: Problem, path: Path) -> None:
    torch: Any = importlib.import_module("torch")
    p = {name: torch.from_numpy(array) for name, array in problem.tensors.items()}

    class Model(torch.nn.Module):  # type: ignore[misc]
        def forward(self, image: Any) -> Any:
            return torch_eager.logits(torch, p, image, problem.config)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Model(),
            (torch.from_numpy(problem.image),),
            str(path),
            input_names=["image"],
            opset_version=OPSET,
            dynamo=False,
        )
