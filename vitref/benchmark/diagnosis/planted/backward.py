"""Planted in backward passes: the forward pass is right, and what it passes back is not."""

import math
from typing import TYPE_CHECKING, Any

from vitref.benchmark.diagnosis import pieces
from vitref.benchmark.diagnosis.bug import Bug, Change, wrong_gradient
from vitref.benchmark.diagnosis.library import torch

if TYPE_CHECKING:
    from vitref.benchmark.diagnosis.program import Pass

NORM, LINEAR = ("weight", "bias"), ("weight", "bias")


def backward(piece: str, wrong: Any, parameters: tuple[str, ...] = (), at: str = "*") -> Change:
    """The piece with the gradients `wrong(dy, gradients, *inputs, *parameters)`."""

    def run(m: "Pass", path: str, *inputs: Any) -> Any:
        names = [f"{path}.{name}" if name else path for name in parameters]

        def right(*tensors: Any) -> Any:
            local = m.with_weights(dict(zip(names, tensors[len(inputs) :], strict=True)))
            return getattr(pieces, piece)(local, path, *tensors[: len(inputs)])

        return wrong_gradient(right, wrong)(*inputs, *(m.weights[name] for name in names))

    return Change(piece, run, at)


def only(index: int, function: Any) -> Any:
    """Right gradients but for one, `function(dy, its right value, *inputs)`."""

    def wrong(dy: Any, gradients: Any, *inputs: Any) -> tuple[Any, ...]:
        changed = function(dy, gradients[index], *inputs)
        return (*gradients[:index], changed, *gradients[index + 1 :])

    return wrong


def norm_dx(combine: Any) -> Any:
    """dx of LayerNorm from g = dy weight, the normalised x, and the standard deviation."""

    def dx(dy: Any, right: Any, x: Any, weight: Any, bias: Any) -> Any:
        wide, dy, gain = (pieces.widen(t) for t in (x, dy, weight))
        centred = wide - wide.mean(-1, keepdim=True)
        sigma = torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-6)
        return combine(dy * gain, dy, centred / sigma, sigma)

    return only(0, dx)


def by_one_less(g: Any, dy: Any, y: Any, sigma: Any) -> Any:
    """With sums over D - 1 in place of means."""
    return (g - (mean(g) + y * mean(g * y)) * g.shape[-1] / (g.shape[-1] - 1)) / sigma


def norm_of_one_image(dy: Any, gradients: Any, x: Any, weight: Any, bias: Any) -> tuple[Any, ...]:
    dy, first = pieces.widen(dy[:1]), pieces.widen(x[:1])
    centred = first - mean(first)
    y = centred / torch.sqrt(mean(centred**2) + 1e-6)
    return gradients[0], rows(dy * y).sum(0), rows(dy).sum(0)


def kernel_from_pixels(dy: Any, right: Any, x: Any, weight: Any, bias: Any) -> Any:
    out, channels, height, width = right.shape
    return right.reshape(out, height, width, channels).permute(0, 3, 1, 2)


def unfold_turned(m: "Pass", at: str, image: Any) -> Any:
    """Patches whose cotangents are put back down the columns."""

    def wrong(dy: Any, gradients: Any, image: Any) -> tuple[Any]:
        turned = dy.unflatten(1, m.config.grid).transpose(1, 2).flatten(1, 2)
        size = m.config.patch_size
        return (torch.nn.functional.fold(turned.mT, image.shape[2:], size, stride=size),)

    return wrong_gradient(lambda x: pieces.unfold(m, at, x), wrong)(image)


def mean(x: Any) -> Any:
    return x.mean(-1, keepdim=True)


def softmax_dx(function: Any) -> Any:
    def dx(dy: Any, right: Any, s: Any) -> Any:
        return function(pieces.widen(dy), pieces.over(pieces.widen(s), -1))

    return only(0, dx)


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


def rows(x: Any) -> Any:
    return x.reshape(-1, x.shape[-1])


def bug(name: str, what: str, first: str, step: str, change: Change, **rest: Any) -> Bug:
    return Bug(
        name=name,
        what=what,
        first=first,
        step=step,
        changes=(change,),
        hidden=("taps", "blocks", "logits", *rest.pop("hidden", ())),
        **{"because": "the forward pass is right", **rest},
    )


L = "blocks.{last}"
ADD1, ACT, SOFTMAX, CORE = f"{L}.add1:dy", f"{L}.mlp.act", f"{L}.attn.softmax", f"{L}.attn.scores"
SUM = {"needs": lambda c: not c.layer_scale}

BUGS = (
    bug(
        "norm_mean_of_g",
        "leaves the mean of g out of LayerNorm's dx",
        f"{L}:dy",
        "norm",
        backward("norm", norm_dx(lambda g, dy, y, s: (g - y * mean(g * y)) / s), NORM),
    ),
    bug(
        "norm_mean_of_gy",
        "leaves the mean of g times the normalised x out of dx",
        f"{L}:dy",
        "norm",
        backward("norm", norm_dx(lambda g, dy, y, s: (g - mean(g)) / s), NORM),
    ),
    bug(
        "norm_gain_in_one",
        "leaves the weight out of dx in norm1 of block 1",
        "blocks.0:dy",
        "blocks.1.norm1",
        backward(
            "norm",
            norm_dx(lambda g, dy, y, s: (dy - mean(dy) - y * mean(dy * y)) / s),
            NORM,
            "blocks.1.norm1",
        ),
    ),
    bug(
        "norm_by_d_minus_1",
        "divides the sums in LayerNorm's dx by D - 1",
        f"{L}:dy",
        "norm",
        backward("norm", norm_dx(by_one_less), NORM),
    ),
    bug(
        "norm_both_means_halved",
        "halves both means in LayerNorm's dx",
        ADD1,
        f"{L}.norm2",
        backward(
            "norm",
            norm_dx(lambda g, dy, y, s: (g - 0.5 * mean(g) - 0.5 * y * mean(g * y)) / s),
            NORM,
            "blocks.*",
        ),
    ),
    bug(
        "norm_stops",
        "passes nothing back through norm2",
        ADD1,
        f"{L}.norm2",
        backward("norm", norm_dx(lambda g, dy, y, s: 0 * g), NORM, "*.norm2"),
    ),
    bug(
        "norm_gain_of_x",
        "multiplies by x, not normalised, in the gradient of LayerNorm's weight",
        "blocks.*.norm?.weight:grad",
        "blocks.*.norm?",
        backward("norm", only(1, lambda dy, right, x, w, b: (rows(dy) * rows(x)).sum(0)), NORM, "blocks.*"),
    ),
    bug(
        "norm_of_one_image",
        "sums the gradients of LayerNorm's weight and bias over the first image alone",
        "*norm*:grad",
        "*norm*",
        backward("norm", norm_of_one_image, NORM),
    ),
    bug(
        "softmax_sum",
        "leaves the sum out of the softmax's dx",
        f"{CORE}:dy",
        SOFTMAX,
        backward("softmax", softmax_dx(lambda dy, p: p * dy)),
    ),
    bug(
        "softmax_diagonal",
        "takes p (1 - p) for the softmax's derivative",
        f"{CORE}:dy",
        SOFTMAX,
        backward("softmax", softmax_dx(lambda dy, p: p * (1 - p) * dy)),
    ),
    bug(
        "softmax_stops",
        "passes nothing back through the softmax",
        f"{CORE}:dy",
        SOFTMAX,
        backward("softmax", softmax_dx(lambda dy, p: 0 * dy)),
    ),
    bug(
        "softmax_sum_of_queries",
        "sums over the queries in the softmax's dx in block 1",
        "blocks.1.attn.scores:dy",
        "blocks.1.attn.softmax",
        backward(
            "softmax", softmax_dx(lambda dy, p: p * (dy - (p * dy).sum(-2, keepdim=True))), at="blocks.1.*"
        ),
    ),
    bug(
        "scale_of_dq",
        "does not scale dq",
        f"{L}.attn.q:dy",
        CORE,
        backward("scores", only(0, lambda dy, right, q, k: right * math.sqrt(q.shape[-1]))),
    ),
    bug(
        "scale_of_dk",
        "does not scale dk",
        f"{L}.attn.k:dy",
        CORE,
        backward("scores", only(1, lambda dy, right, q, k: right * math.sqrt(q.shape[-1]))),
    ),
    bug(
        "scale_of_both",
        "scales neither dq nor dk",
        f"{L}.attn.q:dy",
        CORE,
        backward("scores", lambda dy, g, q, k: tuple(x * math.sqrt(q.shape[-1]) for x in g)),
    ),
    bug(
        "scores_turned",
        "does not transpose the scores' cotangent in dk",
        f"{L}.attn.k:dy",
        CORE,
        backward("scores", only(1, lambda dy, right, q, k: dy @ q / math.sqrt(q.shape[-1]))),
    ),
    bug(
        "dq_and_dk",
        "exchanges dq and dk in block 1",
        "blocks.1.attn.q:dy",
        "blocks.1.attn.scores",
        backward("scores", lambda dy, g, q, k: (g[1], g[0]), at="blocks.1.*"),
    ),
    bug(
        "queries_stop",
        "passes nothing back to the queries",
        f"{L}.attn.q:dy",
        CORE,
        backward("scores", only(0, lambda dy, right, q, k: 0 * right)),
    ),
    bug(
        "keys_stop",
        "passes nothing back to the keys",
        f"{L}.attn.k:dy",
        CORE,
        backward("scores", only(1, lambda dy, right, q, k: 0 * right)),
    ),
    bug(
        "one_head_stops",
        "passes nothing back to the queries of head 1 in block 1",
        "blocks.1.attn.q:dy",
        "blocks.1.attn.scores",
        backward(
            "scores",
            only(0, lambda dy, right, q, k: right * (torch.arange(right.shape[1]) != 1).reshape(-1, 1, 1)),
            at="blocks.1.*",
        ),
    ),
    bug(
        "values_of_p",
        "does not transpose the probabilities in dv",
        f"{L}.attn.v:dy",
        f"{L}.attn.context",
        backward("context", only(1, lambda dy, right, p, v: p @ dy)),
    ),
    bug(
        "values_stop",
        "passes nothing back to the values",
        f"{L}.attn.v:dy",
        f"{L}.attn.context",
        backward("context", only(1, lambda dy, right, p, v: 0 * right)),
    ),
    bug(
        "merge_by_view",
        "splits the merged heads' cotangent without moving the axis",
        f"{L}.attn.context:dy",
        f"{L}.attn.merge",
        backward("merge", only(0, lambda dy, right, y: dy.reshape(y.shape))),
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
        backward("linear", only(2, lambda dy, right, x, w, b: rows(dy).mean(0)), LINEAR),
    ),
    bug(
        "weight_of_last_token",
        "takes the gradient of the MLP's weights from the last token alone",
        "blocks.*.mlp.fc?.weight:grad",
        "blocks.*.mlp.fc?",
        backward("linear", only(1, lambda dy, right, x, w, b: dy[:, -1].mT @ x[:, -1]), LINEAR, "*.mlp.*"),
    ),
    bug(
        "weight_of_one_image",
        "takes the gradients of qkv's weight and bias from the first image alone",
        "blocks.*.attn.qkv.*:grad",
        "blocks.*.attn.qkv",
        backward(
            "linear",
            lambda dy, g, x, w, b: (g[0], dy[0].mT @ x[0], dy[0].sum(0)),
            LINEAR,
            "*.qkv",
        ),
    ),
    bug(
        "weight_untransposed",
        "multiplies by the weight the wrong way round in dx of the square projection",
        f"{L}.attn.merge:dy",
        f"{L}.attn.proj",
        backward("linear", only(0, lambda dy, right, x, w, b: dy @ w.mT), LINEAR, "*.attn.proj"),
    ),
    bug(
        "weight_gradient_twice",
        "adds the gradient of fc2's weight of block 0 twice",
        "blocks.0.mlp.fc2.weight:grad",
        "blocks.0.mlp.fc2",
        backward("linear", only(1, lambda dy, right, x, w, b: 2 * right), LINEAR, "blocks.0.mlp.fc2"),
    ),
    bug(
        "bias_sign",
        "has the gradient of fc1's bias of block 1 with the wrong sign",
        "blocks.1.mlp.fc1.bias:grad",
        "blocks.1.mlp.fc1",
        backward("linear", only(2, lambda dy, right, x, w, b: -right), LINEAR, "blocks.1.mlp.fc1"),
    ),
    bug(
        "gradient_clipped",
        "limits what attention of block 1 passes back to a third of its largest value",
        "blocks.1.attn.merge:dy",
        "blocks.1.attn.proj",
        backward(
            "linear",
            only(0, lambda dy, right, x, w, b: right.clamp(-right.abs().max() / 3, right.abs().max() / 3)),
            LINEAR,
            "blocks.1.attn.proj",
        ),
    ),
    bug(
        "residual_stops_at_mlp",
        "passes nothing back along the residual beside the MLP",
        ADD1,
        f"{L}.add2",
        backward("add", only(0, lambda dy, right, x, b: 0 * dy), at="*.add2"),
    ),
    bug(
        "residual_stops_at_attention",
        "passes nothing back along the residual beside attention of block 1",
        "blocks.0:dy",
        "blocks.1.add1",
        backward("add", only(0, lambda dy, right, x, b: 0 * dy), at="blocks.1.add1"),
    ),
    bug(
        "residual_passes_twice",
        "passes the residual's cotangent back twice beside the MLP",
        ADD1,
        f"{L}.add2",
        backward("add", only(0, lambda dy, right, x, b: 2 * dy), at="*.add2"),
    ),
    bug(
        "sums_average",
        "halves the cotangents of both inputs of a sum",
        f"{L}.mlp:dy",
        f"{L}.add2",
        backward("add", lambda dy, g, x, b: (dy / 2, dy / 2)),
        **SUM,
    ),
    bug(
        "gamma_averaged",
        "averages LayerScale's gradient over tokens and images",
        "blocks.*.ls?.gamma:grad",
        "blocks.*.ls?",
        backward("layer_scale", only(1, lambda dy, right, x, gamma: rows(dy * x).mean(0)), ("gamma",)),
        model="mean",
        needs=lambda c: c.layer_scale,
    ),
    bug(
        "class_token_of_last_image",
        "takes the class token's gradient from the last image",
        "cls_token:grad",
        "cls_token",
        backward("class_token", only(1, lambda dy, right, x, token: dy[-1:, :1]), ("",)),
        needs=lambda c: c.class_token,
    ),
    bug(
        "positions_averaged",
        "averages the gradient of the positions over the images",
        "pos_embed:grad",
        "pos_embed",
        backward("positions", only(1, lambda dy, right, x, t: right / len(dy)), ("",)),
    ),
    bug(
        "kernel_gradient_of_pixels_first",
        "takes the numbers of the patch kernel's gradient for (h, w, channel)",
        "patch_embed.proj.weight:grad",
        "patch_embed.proj",
        backward("project", only(1, kernel_from_pixels), LINEAR),
    ),
    bug(
        "image_gradient_turned",
        "gives the patches' cotangents back column after column",
        "image:dy",
        "patch_embed.unfold",
        Change("unfold", unfold_turned),
        hidden=("gradients",),
        needs=lambda c: c.grid[0] == c.grid[1],
    ),
    bug(
        "pooling_to_all",
        "passes the pooled cotangent back to every token",
        "tokens:dy",
        "pool",
        backward("pool", only(0, lambda dy, right, x: dy[:, None].expand_as(x))),
        needs=lambda c: c.pool == "token",
    ),
    bug(
        "pooling_undivided",
        "does not divide the pooled cotangent by the number of patches",
        "tokens:dy",
        "pool",
        backward("pool", only(0, lambda dy, right, x: right * (x.shape[1] - 1))),
        model="mean",
        needs=lambda c: c.pool == "mean",
    ),
    bug(
        "tanh_unsquared",
        "takes 1 - y for tanh's derivative",
        "pre_logits.fc:dy",
        "pre_logits.act",
        backward("tanh", only(0, lambda dy, right, x: dy * (1 - torch.tanh(x)))),
        model="all",
        needs=lambda c: c.pre_logits > 0,
    ),
    bug(
        "loss_undivided",
        "does not divide the loss's gradient by the number of images",
        "logits:dy",
        "loss",
        Change(
            "loss",
            lambda m, at, y: wrong_gradient(
                lambda z: pieces.loss(m, at, z), lambda dy, g, z: (g[0] * len(z),)
            )(y),
        ),
    ),
    bug(
        "loss_divided_twice",
        "divides the loss's gradient by the number of images twice",
        "logits:dy",
        "loss",
        Change(
            "loss",
            lambda m, at, y: wrong_gradient(
                lambda z: pieces.loss(m, at, z), lambda dy, g, z: (g[0] / len(z),)
            )(y),
        ),
    ),
    bug(
        "loss_without_label",
        "leaves the label out of the gradient of the loss",
        "logits:dy",
        "loss",
        Change(
            "loss",
            lambda m, at, y: wrong_gradient(
                lambda z: pieces.loss(m, at, z), lambda dy, g, z: (pieces.over(pieces.widen(z), -1) / len(z),)
            )(y),
        ),
    ),
)
