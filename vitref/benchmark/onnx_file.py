"""The same model in ONNX Runtime and in OpenVINO: the graph that PyTorch exports, fully optimised by each."""

import importlib
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitref.benchmark import torch_model
from vitref.benchmark.case import Case, Problem
from vitref.benchmark.program import Program, cores

OPSET = 17
"""The first with LayerNormalization as one operator."""

OPENVINO = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
"""float32 throughout, and all cores for one request."""


def onnxruntime(problem: Problem, case: Case) -> Program:
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = cores()
    with exported(problem) as path:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Program(lambda: session.run(None, {"image": problem.image})[0])


def openvino(problem: Problem, case: Case) -> Program:
    library: Any = importlib.import_module("openvino")
    core, settings = library.Core(), {**OPENVINO, "INFERENCE_NUM_THREADS": cores()}
    with exported(problem) as path:
        request = core.compile_model(core.read_model(str(path)), "CPU", settings).create_infer_request()
    return Program(lambda: request.infer([problem.image], share_inputs=True)[0])


@contextmanager
def exported(problem: Problem) -> Iterator[Path]:
    """The ONNX file of the model, for pictures of just this number and size."""
    torch: Any = importlib.import_module("torch")
    p = {name: torch.from_numpy(array) for name, array in problem.tensors.items()}

    class Model(torch.nn.Module):  # type: ignore[misc]
        def forward(self, image: Any) -> Any:
            return torch_model.logits(torch, p, image, problem.config)

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        image = torch.from_numpy(problem.image)
        torch.onnx.export(
            Model(), (image,), str(path), input_names=["image"], opset_version=OPSET, dynamo=False
        )
        yield path
