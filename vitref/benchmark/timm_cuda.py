"""timm's own model on a CUDA device: fused attention, eager or compiled, in one dtype or under autocast."""

import importlib
from collections.abc import Callable
from typing import Any

from vitref.benchmark import cuda
from vitref.benchmark.case import Case, Problem
from vitref.benchmark.program import Build, Program
from vitref.benchmark.torch_model import gradients, inference

NAMES = {
    "ViT-Ti/16": "vit_tiny_patch16_224",
    "ViT-S/16": "vit_small_patch16_224",
    "ViT-B/16": "vit_base_patch16_224",
    "ViT-L/16": "vit_large_patch16_224",
}
"""Model -> timm's name for it."""


def build(mode: str | None, *, autocast: bool = False, on: str = "cuda") -> Build:
    """How it is built in this mode of `torch.compile`; eager when None.

    autocast  float32 weights, and `torch.autocast` in the dtype of the case
    on        torch's name of the device
    """
    return lambda problem, case: _program(problem, case, mode, autocast, on)


def _program(problem: Problem, case: Case, mode: str | None, autocast: bool, on: str) -> Program:
    torch: Any = importlib.import_module("torch")
    allow_tf32(torch, case.precision == "tf32")
    stored = getattr(torch, "float32" if autocast else case.dtype)
    module = model(torch, problem, case, stored, on)
    image = torch.from_numpy(problem.image).to(on, stored)
    labels = torch.from_numpy(problem.labels).to(on)
    forward = torch.compile(module, mode=mode, dynamic=False) if mode else module

    def scores() -> Any:
        with torch.autocast(on, dtype=getattr(torch, case.dtype), enabled=autocast):
            return forward(image)

    return Program(
        cuda.synchronised_torch(torch, _pass(torch, scores, module, image, labels, case)),
        lambda tensor: tensor.detach().to(torch.float64).cpu().numpy(),
        cuda.torch_meter(torch),
        cuda.describe_torch(torch),
    )


def model(torch: Any, problem: Problem, case: Case, dtype: Any, on: str) -> Any:
    """timm's module with the weights of `problem`."""
    timm: Any = importlib.import_module("timm")
    importlib.import_module("timm.layers").set_fused_attn(True)
    module = timm.create_model(
        NAMES[case.model], img_size=case.image_size, depth=problem.config.depth, pretrained=False
    )
    module.load_state_dict({name: torch.from_numpy(array) for name, array in problem.tensors.items()})
    return module.to(on, dtype).eval()


def allow_tf32(torch: Any, allowed: bool) -> None:
    """Whether float32 matrices may be multiplied in TF32."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def _pass(
    torch: Any, scores: Callable[[], Any], module: Any, image: Any, labels: Any, case: Case
) -> Callable[[], Any]:
    """A compiled model with CUDA graphs reuses its results' memory: each is done with before the next run."""
    if case.direction == "forward":
        return inference(torch, scores)
    return gradients(torch, scores, dict(module.named_parameters()), image, labels)
