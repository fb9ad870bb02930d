"""The same model in PyTorch's eager mode, as one would plainly write it: fused attention, no compiler."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from vitref.benchmark.case import Case, Problem
from vitref.config import Config


def build(problem: Problem, case: Case) -> Callable[[], Any]:
    torch: Any = importlib.import_module("torch")
    p = {name: torch.from_numpy(array) for name, array in problem.tensors.items()}
    image, labels = torch.from_numpy(problem.image), torch.from_numpy(problem.labels)
    if case.direction == "forward":
        return lambda: inference(torch, p, image, problem.config)
    inputs = [*p.values(), image]
    for tensor in inputs:
        tensor.requires_grad_()

    def gradients() -> dict[str, Any]:
        loss = torch.nn.functional.cross_entropy(logits(torch, p, image, problem.config), labels)
        return dict(zip(p, torch.autograd.grad(loss, inputs), strict=False))

    return gradients


def inference(torch: Any, p: Mapping[str, Any], image: Any, config: Config) -> Any:
    with torch.inference_mode():
        return logits(torch, p, image, config)


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
