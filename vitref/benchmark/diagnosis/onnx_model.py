"""The plain program as an ONNX graph, every activation an output of it, run by ONNX Runtime."""

import importlib
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.benchmark.diagnosis import program
from vitref.benchmark.diagnosis.bug import Change
from vitref.benchmark.diagnosis.library import torch
from vitref.benchmark.diagnosis.problem import Problem

OPSET = 17
"""The first with LayerNormalization as one operator."""


def runner(changes: Sequence[Change]) -> Any:
    """An engine of the program with these pieces."""

    def run(problem: Problem, dtype: str, gradients: bool) -> dict[str, HostArray]:
        runtime: Any = importlib.import_module("onnxruntime")
        stored = getattr(torch, dtype)
        pixels = torch.from_numpy(np.array(problem.image)).to(stored)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            names = export(problem, changes, stored, pixels, path)
            session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            values = session.run(None, {"pixels": pixels.numpy()})
        return dict(zip(names, values, strict=True))

    return run


def export(problem: Problem, changes: Sequence[Change], stored: Any, pixels: Any, path: Path) -> list[str]:
    """Write the graph; the taps that its outputs are, in their order."""
    weights = {n: torch.from_numpy(np.array(w, np.float64)).to(stored) for n, w in problem.weights.items()}
    names: list[str] = []

    class Model(torch.nn.Module):  # type: ignore[misc]
        def forward(self, image: Any) -> Any:
            m = program.Pass(weights, problem.config, None, changes)
            m.piece("model", "", image)
            names[:] = m.kept
            return [value.clone() for value in m.kept.values()]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Model(), (pixels,), str(path), input_names=["pixels"], opset_version=OPSET, dynamo=False
        )
    return names
