"""The same model in PyTorch, plainly written, with fused attention; eager, or compiled as a whole."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from vitref.benchmark.case import Case, Problem
from vitref.benchmark.program import Build, Program, cores
from vitref.config import Config

MODES = ("default", "reduce-overhead", "max-autotune")
"""Of `torch.compile`."""


def eager(problem: Problem, case: Case) -> Program:
    return _program(problem, case, lambda torch, function: function)


def compiled(mode: str) -> Build:
    """How the model is built in this mode of `torch.compile`."""

    def compile_(torch: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = torch.compile(function, mode=mode, dynamic=False)
        return compiled

    return lambda problem, case: _program(problem, case, compile_)


def _program(problem: Problem, case: Case, prepare: Callable[..., Callable[..., Any]]) -> Program:
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(cores())
    p = {name: torch.from_numpy(array) for name, array in problem.tensors.items()}
    image, labels = torch.from_numpy(problem.image), torch.from_numpy(problem.labels)
    model = prepare(torch, lambda p, image: logits(torch, p, image, problem.config))
    if case.direction == "forward":
        return Program(inference(torch, lambda: model(p, image)))
    return Program(gradients(torch, lambda: model(p, image), p, image, labels))


def inference(torch: Any, call: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        with torch.inference_mode():
            return call()

    return run


def gradients(
    torch: Any, call: Callable[[], Any], p: Mapping[str, Any], image: Any, labels: Any
) -> Callable[[], dict[str, Any]]:
    """Loss and gradients of what `call` computes from the parameters `p` and the image; {name: gradient}."""
    inputs = [*p.values(), image]
    for tensor in inputs:
        tensor.requires_grad_()

    def run() -> dict[str, Any]:
        scores = call()
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        loss = torch.nn.functional.cross_entropy(scores, labels)
        return dict(zip(p, torch.autograd.grad(loss, inputs), strict=False))

    return run


def logits(torch: Any, p: Mapping[str, Any], image: Any, config: Config) -> Any:
    """image (N, C, H, W) -> (N, classes); `p`: canonical name -> tensor."""
    functional = torch.nn.functional

    def linear(x: Any, name: str) -> Any:
        return functional.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    def norm(x: Any, name: str) -> Any:
        return functional.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], config.eps)

    def attention(x: Any, name: str) -> Any:
        shape = (*x.shape[:2], 3, config.heads, config.head_dim)
        q, k, v = linear(x, f"{name}.qkv").reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v)
        return linear(y.transpose(1, 2).reshape(x.shape), f"{name}.proj")

    kernel, bias = p["patch_embed.proj.weight"], p["patch_embed.proj.bias"]
    x = functional.conv2d(image, kernel, bias, stride=config.patch_size).flatten(2).transpose(1, 2)
    x = torch.cat([p["cls_token"].expand(x.shape[0], -1, -1), x], dim=1) + p["pos_embed"]
    for i in range(config.depth):
        block = f"blocks.{i}"
        x = x + attention(norm(x, f"{block}.norm1"), f"{block}.attn")
        y = functional.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1"))
        x = x + linear(y, f"{block}.mlp.fc2")
    return linear(norm(x, "norm")[:, 0], "head")
