"""Planted in what flows back between the layers: residuals, embedding, pooling, the loss."""

from typing import TYPE_CHECKING, Any

from vitref.benchmark.diagnosis import pieces
from vitref.benchmark.diagnosis.bug import Change, wrong_gradient
from vitref.benchmark.diagnosis.library import torch
from vitref.benchmark.diagnosis.planted.backward import BOTH, L, backward, bug, only, rows

if TYPE_CHECKING:
    from vitref.benchmark.diagnosis.program import Pass

ADD1 = f"{L}.add1:dy"
SUM: dict[str, Any] = {"needs": lambda c: not c.layer_scale}


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


BUGS = (
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
        backward("project", only(1, kernel_from_pixels), BOTH),
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
