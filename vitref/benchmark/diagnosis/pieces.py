"""The pieces of a Vision Transformer in plain PyTorch, written apart from vitref's own.

A piece takes the pass, the dotted path of its step, and the inputs. Steps other than matrix products compute
in float32 where the tensors are 16 bits wide, and round their result, as fused kernels do. Shapes: tokens
(N, T, D); q, k, v (N, heads, T, d). `vitref.benchmark.diagnosis.wiring` says which follows which.
"""

import math
from typing import TYPE_CHECKING, Any

from vitref.benchmark.diagnosis.library import torch

if TYPE_CHECKING:
    from vitref.benchmark.diagnosis.program import Pass


def widen(x: Any) -> Any:
    """float32 for a 16-bit tensor, else the tensor."""
    return x.float() if x.dtype.itemsize == 2 else x


def unfold(m: "Pass", at: str, image: Any) -> Any:
    """(N, C, H, W) to (N, patches, C h w), row after row of patches."""
    return torch.nn.functional.unfold(image, m.config.patch_size, stride=m.config.patch_size).transpose(
        -2, -1
    )


def project(m: "Pass", at: str, patches: Any) -> Any:
    weight = m.weights[f"{at}.weight"]
    return torch.nn.functional.linear(patches, weight.reshape(len(weight), -1), m.weights[f"{at}.bias"])


def class_token(m: "Pass", at: str, x: Any) -> Any:
    return torch.cat([m.weights[at].expand(len(x), 1, -1), x], dim=1)


def resize(m: "Pass", at: str, table: Any) -> Any:
    """(1, prefix + patches, D) at the grid of the image."""
    old, new, prefix = m.config.position_grid, m.config.grid, m.config.position_prefix
    if old == new:
        return table
    return resized(table, prefix, old, lambda x: interpolate(x, new, m.config.position_resize))


def resized(table: Any, prefix: int, old: tuple[int, int], function: Any) -> Any:
    """`function` takes and returns (1, D, rows, columns); the first `prefix` rows stay as they are."""
    grid = widen(table[:, prefix:]).transpose(-2, -1).reshape(1, -1, *old)
    moved = function(grid).flatten(2).transpose(-2, -1).to(table.dtype)
    return torch.cat([table[:, :prefix], moved], dim=1)


def interpolate(x: Any, size: tuple[int, int], recipe: str) -> Any:
    mode, _, rest = recipe.partition("_")
    options = {"align_corners": rest == "corners", "antialias": rest == "antialias"}
    return torch.nn.functional.interpolate(x, size, mode=mode, **options)


def positions(m: "Pass", at: str, x: Any) -> Any:
    return x + m.piece("resize", at, m.weights[at])


def norm(m: "Pass", at: str, x: Any) -> Any:
    """LayerNorm over the last axis."""
    wide = widen(x)
    centred = wide - wide.mean(-1, keepdim=True)
    return scaled(m, at, x, centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + m.config.eps))


def scaled(m: "Pass", at: str, x: Any, normalised: Any) -> Any:
    """The affine end of a normalisation, in the dtype of its input x."""
    weight, bias = widen(m.weights[f"{at}.weight"]), widen(m.weights[f"{at}.bias"])
    return (normalised * weight + bias).to(x.dtype)


def linear(m: "Pass", at: str, x: Any) -> Any:
    return torch.nn.functional.linear(x, m.weights[f"{at}.weight"], m.weights.get(f"{at}.bias"))


def split(m: "Pass", at: str, qkv: Any) -> Any:
    """q, k, v of (N, T, 3 heads d): thirds, then heads."""
    return [heads_first(part, m.config.heads) for part in qkv.chunk(3, dim=-1)]


def heads_first(x: Any, heads: int) -> Any:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def scores(m: "Pass", at: str, q: Any, k: Any) -> Any:
    return q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]))


def softmax(m: "Pass", at: str, s: Any) -> Any:
    return over(widen(s), -1).to(s.dtype)


def over(s: Any, *axes: int) -> Any:
    """Softmax over these axes."""
    e = torch.exp(s - s.amax(axes, keepdim=True))
    return e / e.sum(axes, keepdim=True)


def context(m: "Pass", at: str, p: Any, v: Any) -> Any:
    return p @ v


def merge(m: "Pass", at: str, y: Any) -> Any:
    return y.transpose(1, 2).flatten(2)


def activation(m: "Pass", at: str, x: Any) -> Any:
    wide = widen(x)
    return (gelu_tanh(wide) if m.config.activation == "gelu_tanh" else gelu(wide)).to(x.dtype)


def gelu(x: Any) -> Any:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x: Any) -> Any:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def layer_scale(m: "Pass", at: str, x: Any) -> Any:
    return x * m.weights[f"{at}.gamma"]


def add(m: "Pass", at: str, x: Any, branch: Any) -> Any:
    return x + branch


def pool(m: "Pass", at: str, tokens: Any) -> Any:
    if m.config.pool == "token":
        return tokens[:, 0]
    start = m.config.class_token if m.config.pool == "mean" else 0
    return widen(tokens[:, start:]).mean(1).to(tokens.dtype)


def tanh(m: "Pass", at: str, x: Any) -> Any:
    return torch.tanh(widen(x)).to(x.dtype)


def logits(m: "Pass", at: str, x: Any) -> Any:
    return x


def loss(m: "Pass", at: str, logits: Any) -> Any:
    """The mean over the batch of the cross-entropy with the labels (N,)."""
    return chosen(m, logits).mean()


def chosen(m: "Pass", logits: Any) -> Any:
    """(N,): minus the logarithm of each image's probability of its label."""
    wide = widen(logits)
    return torch.logsumexp(wide, -1) - wide.gather(-1, m.labels[:, None])[:, 0]
