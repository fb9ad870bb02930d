"""Steps in a lower precision inside a pass that is otherwise float32: no bugs, but to be told by name."""

from typing import TYPE_CHECKING, Any

from vitref.benchmark.diagnosis import pieces
from vitref.benchmark.diagnosis.bug import Bug, Change
from vitref.benchmark.diagnosis.library import torch

if TYPE_CHECKING:
    from vitref.benchmark.diagnosis.program import Pass


def rounded(x: Any, kind: str) -> Any:
    """The nearest number of the format: "bfloat16", "float16", or "tf32", which has 10 bits behind the 1."""
    if kind != "tf32":
        return x.to(getattr(torch, kind)).to(x.dtype)
    single = x.float()
    far = (single * (2**13 + 1)).detach()
    return (far - (far - single)).to(x.dtype)


def product(kind: str) -> Any:
    """A linear layer whose factors are rounded."""

    def linear(m: "Pass", at: str, x: Any) -> Any:
        weight, bias = m.weights[f"{at}.weight"], m.weights[f"{at}.bias"]
        return rounded(x, kind) @ rounded(weight, kind).mT + bias

    return linear


def result(piece: str, kind: str) -> Any:
    """The piece of inputs that are rounded, and its result rounded."""
    return lambda m, at, *xs: rounded(getattr(pieces, piece)(m, at, *(rounded(x, kind) for x in xs)), kind)


def bug(name: str, what: str, first: str, *changes: Change) -> Bug:
    return Bug(name=name, what=what, is_precision=True, first=first, changes=changes)


BUGS = (
    bug(
        "softmax_bfloat16",
        "computes the softmax in bfloat16",
        "blocks.0.attn.softmax",
        Change("softmax", result("softmax", "bfloat16")),
    ),
    bug(
        "softmax_float16",
        "computes the softmax in float16",
        "blocks.0.attn.softmax",
        Change("softmax", result("softmax", "float16")),
    ),
    bug(
        "norm_bfloat16",
        "computes LayerNorm in bfloat16",
        "blocks.0.norm1",
        Change("norm", result("norm", "bfloat16")),
    ),
    bug(
        "activation_float16",
        "computes GELU in float16",
        "blocks.0.mlp.act",
        Change("activation", result("activation", "float16")),
    ),
    bug(
        "product_tf32_in_one",
        "multiplies in TF32 in the MLP's first layer of block 1",
        "blocks.1.mlp.fc1",
        Change("linear", product("tf32"), "blocks.1.mlp.fc1"),
    ),
    bug(
        "products_tf32",
        "multiplies in TF32 in all linear layers",
        "blocks.0.attn.qkv",
        Change("linear", product("tf32")),
    ),
    bug(
        "products_bfloat16",
        "multiplies in bfloat16 in all linear layers",
        "blocks.0.attn.qkv",
        Change("linear", product("bfloat16")),
    ),
)
