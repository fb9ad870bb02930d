"""Planted in the backward passes of LayerNorm, the activation, and linear layers."""

import math
from typing import Any

from vitref.benchmark.diagnosis import pieces
from vitref.benchmark.diagnosis.library import torch
from vitref.benchmark.diagnosis.planted.backward import BOTH, L, backward, bug, only, rows

ADD1, ACT = f"{L}.add1:dy", f"{L}.mlp.act"
EPS = 1e-6
"""Of the models in which these are planted."""


def norm_dx(combine: Any) -> Any:
    """dx of LayerNorm from g = dy weight, the normalised x, and the standard deviation."""

    def dx(dy: Any, right: Any, x: Any, weight: Any, bias: Any) -> Any:
        wide, dy, gain = (pieces.widen(t) for t in (x, dy, weight))
        centred = wide - wide.mean(-1, keepdim=True)
        sigma = torch.sqrt((centred**2).mean(-1, keepdim=True) + EPS)
        return combine(dy * gain, dy, centred / sigma, sigma)

    return only(0, dx)


def by_one_less(g: Any, dy: Any, y: Any, sigma: Any) -> Any:
    """With sums over D - 1 in place of means."""
    return (g - (mean(g) + y * mean(g * y)) * g.shape[-1] / (g.shape[-1] - 1)) / sigma


def norm_of_one_image(dy: Any, gradients: Any, x: Any, weight: Any, bias: Any) -> tuple[Any, ...]:
    dy, first = pieces.widen(dy[:1]), pieces.widen(x[:1])
    centred = first - mean(first)
    y = centred / torch.sqrt(mean(centred**2) + EPS)
    return gradients[0], rows(dy * y).sum(0), rows(dy).sum(0)


def mean(x: Any) -> Any:
    return x.mean(-1, keepdim=True)


def activation_dx(slope: Any) -> Any:
    return only(0, lambda dy, right, x: pieces.widen(dy) * slope(pieces.widen(x)))


def normal_cdf(x: Any) -> Any:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def slope_of(function: Any) -> Any:
    """The derivative of a function of one number, by autograd."""

    def slope(x: Any) -> Any:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(function(x).sum(), x)[0]

    return slope


BUGS = (
    bug(
        "norm_mean_of_g",
        "leaves the mean of g out of LayerNorm's dx",
        f"{L}:dy",
        "norm",
        backward("norm", norm_dx(lambda g, dy, y, s: (g - y * mean(g * y)) / s), BOTH),
    ),
    bug(
        "norm_mean_of_gy",
        "leaves the mean of g times the normalised x out of dx",
        f"{L}:dy",
        "norm",
        backward("norm", norm_dx(lambda g, dy, y, s: (g - mean(g)) / s), BOTH),
    ),
    bug(
        "norm_gain_in_one",
        "leaves the weight out of dx in norm1 of block 1",
        "blocks.0:dy",
        "blocks.1.norm1",
        backward(
            "norm",
            norm_dx(lambda g, dy, y, s: (dy - mean(dy) - y * mean(dy * y)) / s),
            BOTH,
            "blocks.1.norm1",
        ),
    ),
    bug(
        "norm_by_d_minus_1",
        "divides the sums in LayerNorm's dx by D - 1",
        f"{L}:dy",
        "norm",
        backward("norm", norm_dx(by_one_less), BOTH),
    ),
    bug(
        "norm_both_means_halved",
        "halves both means in LayerNorm's dx",
        ADD1,
        f"{L}.norm2",
        backward(
            "norm",
            norm_dx(lambda g, dy, y, s: (g - 0.5 * mean(g) - 0.5 * y * mean(g * y)) / s),
            BOTH,
            "blocks.*",
        ),
    ),
    bug(
        "norm_stops",
        "passes nothing back through norm2",
        ADD1,
        f"{L}.norm2",
        backward("norm", norm_dx(lambda g, dy, y, s: 0 * g), BOTH, "*.norm2"),
    ),
    bug(
        "norm_gain_of_x",
        "multiplies by x, not normalised, in the gradient of LayerNorm's weight",
        "blocks.*.norm?.weight:grad",
        "blocks.*.norm?",
        backward("norm", only(1, lambda dy, right, x, w, b: (rows(dy) * rows(x)).sum(0)), BOTH, "blocks.*"),
    ),
    bug(
        "norm_of_one_image",
        "sums the gradients of LayerNorm's weight and bias over the first image alone",
        "*norm*:grad",
        "*norm*",
        backward("norm", norm_of_one_image, BOTH),
    ),
    bug(
        "slope_first_term",
        "takes the normal distribution for GELU's derivative",
        f"{L}.mlp.fc1:dy",
        ACT,
        backward("activation", activation_dx(normal_cdf)),
    ),
    bug(
        "slope_of_tanh_form",
        "differentiates the tanh form of GELU",
        f"{L}.mlp.fc1:dy",
        ACT,
        backward("activation", activation_dx(slope_of(pieces.gelu_tanh))),
        needs=lambda c: c.activation == "gelu",
    ),
    bug(
        "slope_of_sigmoid_form",
        "differentiates x sigmoid(1.702 x) in block 1",
        "blocks.1.mlp.fc1:dy",
        "blocks.1.mlp.act",
        backward(
            "activation", activation_dx(slope_of(lambda x: x * torch.sigmoid(1.702 * x))), at="blocks.1.*"
        ),
    ),
    bug(
        "slope_of_rectifier",
        "differentiates max(x, 0)",
        f"{L}.mlp.fc1:dy",
        ACT,
        backward("activation", activation_dx(lambda x: (x > 0).to(x.dtype))),
    ),
    bug(
        "slope_at_output",
        "differentiates GELU at what it returned",
        f"{L}.mlp.fc1:dy",
        ACT,
        backward("activation", activation_dx(lambda x: slope_of(pieces.gelu)(pieces.gelu(x)))),
    ),
    bug(
        "bias_averaged",
        "averages the gradient of every bias of a linear layer over the tokens in place of summing",
        "*.bias:grad",
        "*",
        backward("linear", only(2, lambda dy, right, x, w, b: rows(dy).mean(0)), BOTH),
    ),
    bug(
        "weight_of_last_token",
        "takes the gradient of the MLP's weights from the last token alone",
        "blocks.*.mlp.fc?.weight:grad",
        "blocks.*.mlp.fc?",
        backward("linear", only(1, lambda dy, right, x, w, b: dy[:, -1].mT @ x[:, -1]), BOTH, "*.mlp.*"),
    ),
    bug(
        "weight_of_one_image",
        "takes the gradients of qkv's weight and bias from the first image alone",
        "blocks.*.attn.qkv.*:grad",
        "blocks.*.attn.qkv",
        backward(
            "linear",
            lambda dy, g, x, w, b: (g[0], dy[0].mT @ x[0], dy[0].sum(0)),
            BOTH,
            "*.qkv",
        ),
    ),
    bug(
        "weight_untransposed",
        "multiplies by the weight the wrong way round in dx of the square projection",
        f"{L}.attn.merge:dy",
        f"{L}.attn.proj",
        backward("linear", only(0, lambda dy, right, x, w, b: dy @ w.mT), BOTH, "*.attn.proj"),
    ),
    bug(
        "weight_gradient_twice",
        "adds the gradient of fc2's weight of block 0 twice",
        "blocks.0.mlp.fc2.weight:grad",
        "blocks.0.mlp.fc2",
        backward("linear", only(1, lambda dy, right, x, w, b: 2 * right), BOTH, "blocks.0.mlp.fc2"),
    ),
    bug(
        "bias_sign",
        "has the gradient of fc1's bias of block 1 with the wrong sign",
        "blocks.1.mlp.fc1.bias:grad",
        "blocks.1.mlp.fc1",
        backward("linear", only(2, lambda dy, right, x, w, b: -right), BOTH, "blocks.1.mlp.fc1"),
    ),
    bug(
        "gradient_clipped",
        "limits what attention of block 1 passes back to a third of its largest value",
        "blocks.1.attn.merge:dy",
        "blocks.1.attn.proj",
        backward(
            "linear",
            only(0, lambda dy, right, x, w, b: right.clamp(-right.abs().max() / 3, right.abs().max() / 3)),
            BOTH,
            "blocks.1.attn.proj",
        ),
    ),
)
