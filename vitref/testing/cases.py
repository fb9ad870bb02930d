"""How each component is tested, and against what: one table, `SPECS`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.components.gelu import CUBIC
from vitref.testing import oracles, shapes
from vitref.testing.refusals import dropped, longer, one, refused, setting, unfit
from vitref.testing.shapes import Arguments, Labels, Size, Static

Terms = tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Spec:
    """arguments   draws shapes and static arguments
    oracle      the same function by other means (see `vitref.testing.oracles`)
    regimes     of the inputs; parameters are always plain, never ones and zeros
    refused     changes of shapes or static arguments, each of which must raise ValueError
    mixes       how many trailing axes of an input meet in one output; None when all of them do
    absolute    sizes of terms that cancel inside, which no change of an input shows: of y, and of
                each gradient, from (args, dy, static)
    """

    arguments: Callable[[Size], Arguments]
    oracle: Callable[..., Any]
    refused: Callable[[Arguments], Iterator[Arguments]]
    regimes: tuple[str, ...]
    mixes: int | None
    absolute: Callable[[tuple[HostArray, ...], HostArray, Static], Terms] | None = None


def _gelu_terms(args: tuple[HostArray, ...], dy: HostArray, static: Static) -> Terms:
    """1 + erf and 1 + tanh keep absolute, not relative accuracy; beyond |x| = 8 both are saturated."""
    x = np.minimum(np.abs(args[0]), 8.0)
    slope = 1 + 3 * CUBIC * x * x
    return float(np.max(np.abs(args[0]))), (float(np.max(np.abs(dy)) * np.max(1 + x * slope)),)


def _cross_entropy_terms(args: tuple[HostArray, ...], dy: HostArray, static: Static) -> Terms:
    """The logarithm of a sum near 1 keeps absolute accuracy; so does p - t."""
    labels = static["labels"]
    total = 1.0 if labels.ndim == 1 else float(np.max(np.sum(labels, axis=1)))
    return total, (float(np.max(np.abs(dy))) * total / len(labels),)


def _sigmoid_terms(args: tuple[HostArray, ...], dy: HostArray, static: Static) -> Terms:
    """max(x, 0) - t x cancels unless t is 0 or 1; s - t keeps absolute accuracy."""
    x, labels = args[0], static["labels"]
    product = 0.0 if labels.ndim == 1 else float(np.sum(np.maximum(x, 0) * labels))
    return product / len(x), (float(np.max(np.abs(dy))) / len(x),)


def _tanh_terms(args: tuple[HostArray, ...], dy: HostArray, static: Static) -> Terms:
    """1 - y^2 keeps absolute, not relative accuracy."""
    return 0.0, (float(np.max(np.abs(dy))),)


def _layer_norm_terms(args: tuple[HostArray, ...], dy: HostArray, static: Static) -> Terms:
    """The mean is rounded too, which moves a row of xhat as one, as no rounding of x can."""
    x, weight, _ = args
    mean = np.mean(x, axis=-1, keepdims=True)
    r = 1 / np.sqrt(np.mean((x - mean) ** 2, axis=-1, keepdims=True) + static["eps"])
    shift, g = np.abs(mean) * r, np.abs(dy * weight)
    dweight = np.sum(np.reshape(np.abs(dy) * shift, (-1, x.shape[-1])), axis=0)
    dx = r * shift * np.mean(g, axis=-1, keepdims=True) * (1 + np.max(np.abs(x - mean), keepdims=True) * r)
    return float(np.max(shift) * np.max(np.abs(weight))), (float(np.max(dx)), float(np.max(dweight)), 0.0)


NORMALISED = ("plain", "offset", "tiny", "large", "constant")
PRODUCTS = ("plain", "offset", "large")
COPIES = ("plain", "offset")

LABELS = (
    dropped("x"),
    setting(x=(0, 3)),
    setting(x=(2, 0)),
    lambda known: {"labels": known["labels"]._replace(images=known["labels"].images + 1)},
    lambda known: {"labels": Labels("weights", known["x"][0], known["x"][1] + 1)},
    lambda known: {"labels": Labels("weights", known["x"][0], 1)} if known["x"][1] > 1 else None,
)
"""What both losses refuse."""

RATES = (setting(rate=1.0), setting(rate=1.5), setting(rate=-0.1))
"""What everything that drops refuses."""

SPECS: dict[str, Spec] = {
    "add": Spec(
        shapes.any_shape("a", "b"),
        oracles.add,
        refused(longer("b"), one("b"), dropped("b"), one("a")),
        PRODUCTS,
        mixes=0,
    ),
    "class_token": Spec(
        shapes.class_token,
        oracles.class_token,
        refused(longer("token"), one("token"), longer("token", 0), dropped("token"), dropped("x")),
        COPIES,
        mixes=2,
    ),
    "context": Spec(
        shapes.context,
        oracles.context,
        refused(longer("v", -2), one("v", -2), longer("v", -3), one("v", -3), one("p", -3), one("p")),
        PRODUCTS,
        mixes=2,
    ),
    "cross_entropy": Spec(
        shapes.cross_entropy,
        oracles.cross_entropy,
        refused(*LABELS),
        NORMALISED,
        mixes=None,
        absolute=_cross_entropy_terms,
    ),
    "drop_path": Spec(
        shapes.drop_path,
        oracles.drop_path,
        refused(*RATES, *unfit("mask")),
        PRODUCTS,
        mixes=0,
    ),
    "dropout": Spec(
        shapes.dropout,
        oracles.dropout,
        refused(*RATES, *unfit("mask")),
        PRODUCTS,
        mixes=0,
    ),
    "gelu": Spec(
        shapes.gelu,
        oracles.gelu,
        refused(setting(form="quick"), setting(form=None)),
        ("plain", "tiny", "large", "constant"),
        mixes=0,
        absolute=_gelu_terms,
    ),
    "identity": Spec(shapes.any_shape("x"), oracles.identity, refused(), PRODUCTS, mixes=0),
    "layer_norm": Spec(
        shapes.layer_norm,
        oracles.layer_norm,
        refused(longer("weight"), longer("bias"), one("weight"), one("bias"), dropped("weight")),
        NORMALISED,
        mixes=1,
        absolute=_layer_norm_terms,
    ),
    "layer_scale": Spec(
        shapes.layer_scale,
        oracles.layer_scale,
        refused(longer("gamma"), one("gamma"), dropped("gamma"), longer("x")),
        PRODUCTS,
        mixes=0,
    ),
    "linear": Spec(
        shapes.linear,
        oracles.linear,
        refused(longer("weight"), one("weight"), longer("bias"), one("bias"), longer("x")),
        PRODUCTS,
        mixes=1,
    ),
    "mean_pool": Spec(
        shapes.mean_pool,
        oracles.mean_pool,
        refused(dropped("x"), setting(start=-1), lambda known: {"start": known["x"][1]}),
        PRODUCTS,
        mixes=2,
    ),
    "merge_heads": Spec(
        shapes.merge_heads,
        oracles.merge_heads,
        refused(dropped("x"), lambda known: {"x": (1, *known["x"])}),
        COPIES,
        mixes=3,
    ),
    "patch_projection": Spec(
        shapes.patch_projection,
        oracles.patch_projection,
        refused(longer("weight"), longer("weight", 1), longer("bias"), one("bias"), longer("x")),
        PRODUCTS,
        mixes=1,
    ),
    "position_embedding": Spec(
        shapes.position_embedding,
        oracles.position_embedding,
        refused(longer("table", 0), longer("table", 1), one("table", 1), one("table"), dropped("table")),
        PRODUCTS,
        mixes=2,
    ),
    "resized_position_embedding": Spec(
        shapes.resized_position_embedding,
        oracles.resized_position_embedding,
        refused(
            longer("table", 0),
            longer("table", 1),
            longer("table"),
            one("table"),
            dropped("table"),
            longer("x", 1),
            longer("x"),
            dropped("x"),
            lambda known: {"prefix": known["prefix"] + 1},
        ),
        PRODUCTS,
        mixes=2,
    ),
    "scores": Spec(
        shapes.scores,
        oracles.scores,
        refused(longer("k"), one("k"), longer("k", -3), one("k", -3), one("q", -3), one("q")),
        PRODUCTS,
        mixes=2,
    ),
    "select_token": Spec(
        shapes.select_token,
        oracles.select_token,
        refused(dropped("x"), setting(index=-1), lambda known: {"index": known["x"][1]}),
        COPIES,
        mixes=2,
    ),
    "sigmoid_cross_entropy": Spec(
        shapes.cross_entropy,
        oracles.sigmoid_cross_entropy,
        refused(*LABELS),
        NORMALISED,
        mixes=None,
        absolute=_sigmoid_terms,
    ),
    "softmax": Spec(
        shapes.softmax, oracles.softmax, refused(setting(x=()), setting(x=(2, 0))), NORMALISED, mixes=1
    ),
    "split_heads": Spec(
        shapes.split_heads,
        oracles.split_heads,
        refused(longer("qkv"), dropped("qkv"), lambda known: {"heads": 2 * known["qkv"][-1]}),
        COPIES,
        mixes=2,
    ),
    "tanh": Spec(
        shapes.any_shape("x"),
        oracles.tanh,
        refused(),
        ("plain", "tiny", "large", "constant"),
        mixes=0,
        absolute=_tanh_terms,
    ),
    "unfold": Spec(
        shapes.unfold,
        oracles.unfold,
        refused(
            dropped("image"),
            lambda known: {"patch_size": (known["image"][2] + 1, 1)},
            lambda known: {"patch_size": (1, known["image"][3] + 1)},
        ),
        COPIES,
        mixes=3,
    ),
}
"""Component: how it is tested. Its invariants are in `vitref.testing.invariants.INVARIANTS`."""
