"""Every kernel at the sizes of real models: one pass by the reference in float64, and one on the device."""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  gives NumPy the dtype "bfloat16" by name
import numpy as np

import vitref
from vitref.array import HostArray
from vitref.backends.interface import Backend
from vitref.run import Part, Run, Trace

Shape = tuple[int, ...]
LOSSES = ("cross_entropy", "sigmoid_cross_entropy")
COMPOSITES = ("attention_core", "block", "embed", "mlp")


class Sizes(NamedTuple):
    """images, tokens, width and inner width of a block; heads; pixels of a side; classes."""

    images: int
    tokens: int
    width: int
    inner: int
    heads: int
    pixels: int
    classes: int


FULL = Sizes(4, 197, 768, 3072, 12, 224, 1000)
SMALL = Sizes(2, 9, 48, 72, 3, 32, 10)


class Case(NamedTuple):
    """`static` may hold "labels": "integers" or "probabilities", drawn with the rest."""

    component: str
    inputs: tuple[Shape, ...]
    parameters: Mapping[str, Shape] = {}
    static: Mapping[str, Any] = {}

    def __str__(self) -> str:
        sizes = ",".join("x".join(map(str, shape)) for shape in self.inputs[:1])
        options = ",".join(str(v) for v in self.static.values() if isinstance(v, str))
        return f"{self.component}-{sizes}{'-' if options else ''}{options}"


def cases(s: Sizes) -> list[Case]:
    x, d = (s.images, s.tokens, s.width), s.width
    affine = {"weight": (d,), "bias": (d,)}
    dense = {"fc1.weight": (s.inner, d), "fc1.bias": (s.inner,), "fc2.weight": (d, s.inner), "fc2.bias": (d,)}
    odd = (3, 5, 77)
    return [
        Case("layer_norm", (x,), affine, {"eps": 1e-6}),
        Case("layer_norm", (odd,), {"weight": (77,), "bias": (77,)}, {"eps": 1e-6}),
        Case("gelu", ((s.images, s.tokens, s.inner),), {}, {"form": "erf"}),
        Case("gelu", (odd,), {}, {"form": "tanh"}),
        Case("softmax", ((s.images, 2, s.tokens, s.tokens),)),
        Case("linear", (x,), {"weight": (3 * d, d), "bias": (3 * d,)}),
        Case("linear", (odd,), {"weight": (33, 77), "bias": (33,)}),
        Case("unfold", ((s.images, 3, s.pixels, s.pixels),), {}, {"patch_size": (16, 16)}),
        Case("unfold", ((2, 3, 29, 43),), {}, {"patch_size": (14, 14)}),
        Case("patch_projection", ((s.images, s.tokens, 768),), {"weight": (d, 3, 16, 16), "bias": (d,)}),
        Case("mlp", (x,), dense, {"activation": "gelu", "rate": 0.0}),
        Case("block", (x,), _block(s, dense), _block_options(s)),
        _embed(s),
        *(Case("attention_core", ((2, 3, *head),) * 3, {}, {"rate": 0.0}) for head in heads(s)),
        *(Case(loss, ((s.images * 16, s.classes),), {}, {"labels": kind})
          for loss in LOSSES for kind in ("integers", "probabilities")),
    ]  # fmt: skip


def _embed(s: Sizes) -> Case:
    config = vitref.Config.variant("ViT-B/16", convention="timm", image_size=s.pixels, width=s.width)
    names = ("patch_embed.proj.weight", "patch_embed.proj.bias", "cls_token", "pos_embed")
    parameters = {name: config.parameter_shapes()[name] for name in names}
    image = (s.images, 3, s.pixels, s.pixels)
    return Case("embed", (image,), parameters, {"config": config, "rate": 0.0})


def heads(s: Sizes) -> list[tuple[int, int]]:
    """Tokens and width of a head: each way in which the kernels go."""
    if s is not FULL:
        return [(1, 64), (9, 32), (17, 80)]
    return [(1, 64), (50, 64), (197, 64), (257, 80), (300, 64), (577, 64), (1025, 96), (197, 128), (65, 24)]


def _block(s: Sizes, dense: Mapping[str, Shape]) -> dict[str, Shape]:
    d = s.width
    norms = {f"{norm}.{name}": (d,) for norm in ("norm1", "norm2") for name in ("weight", "bias")}
    attention = {
        "attn.qkv.weight": (3 * d, d),
        "attn.qkv.bias": (3 * d,),
        "attn.proj.weight": (d, d),
        "attn.proj.bias": (d,),
    }
    return {**norms, **attention, **{f"mlp.{name}": shape for name, shape in dense.items()}}


def _block_options(s: Sizes) -> dict[str, Any]:
    rates = {"rate": 0.0, "attention_rate": 0.0, "path_rate": 0.0}
    options = {"heads": s.heads, "eps": 1e-6, "activation": "gelu", "qkv_bias": True, "scaled": False}
    return {**options, **rates}


class Numbers(NamedTuple):
    """The arrays of a case in one dtype, on the host."""

    inputs: tuple[HostArray, ...]
    parameters: dict[str, HostArray]
    dy: HostArray
    labels: HostArray | None


def numbers(case: Case, dtype: str, seed: int) -> Numbers:
    """Inputs and cotangent normal; matrices so small that their products stay of order one."""
    rng = np.random.default_rng(seed)

    def draw(shape: Shape, scale: float = 1.0) -> HostArray:
        return (scale * rng.standard_normal(shape)).astype(dtype)

    parameters = {
        name: draw(shape, 1 if len(shape) == 1 else float(np.prod(shape[1:])) ** -0.5)
        for name, shape in case.parameters.items()
    }
    inputs = tuple(draw(shape) for shape in case.inputs)
    if case.component in LOSSES:
        return Numbers(
            inputs, parameters, np.asarray(rng.standard_normal(), "float32"), _labels(case, dtype, rng)
        )
    exact = Numbers(tuple(x.astype("float64") for x in inputs), _exact(parameters), np.zeros(()), None)
    return Numbers(inputs, parameters, draw(_forward(case, exact)[1].shape), None)


def _labels(case: Case, dtype: str, rng: np.random.Generator) -> HostArray:
    n, classes = case.inputs[0]
    if case.static["labels"] == "integers":
        return rng.integers(0, classes, n)
    return rng.random((n, classes)).astype("float32" if dtype in ("bfloat16", "float16") else dtype)


def _exact(arrays: Mapping[str, HostArray]) -> dict[str, HostArray]:
    return {name: array.astype("float64") for name, array in arrays.items()}


def part(case: Case) -> Part:
    package = "graph" if case.component in COMPOSITES else "components"
    return importlib.import_module(f"vitref.{package}.{case.component}")


def _forward(case: Case, given: Any, **options: Any) -> tuple[Trace, Any]:
    t = Trace(Run({f"step.{name}": array for name, array in given.parameters.items()}, **options))
    static = case.static if given.labels is None else {**case.static, "labels": given.labels}
    return t, t.step("step", part(case), *given.inputs, **static)


def _passes(case: Case, given: Any, **options: Any) -> tuple[Trace, dict[str, Any]]:
    t, y = _forward(case, given, **options)
    dx = t.undo("step", given.dy)
    dx = dx if isinstance(dx, tuple) else (dx,)
    return t, {"y": y, **{f"dx{i}": d for i, d in enumerate(dx)}, **t.run.gradients}


def by_reference(case: Case, given: Numbers) -> dict[str, HostArray]:
    """y and all gradients in float64."""
    labels = (
        given.labels if given.labels is None or given.labels.ndim == 1 else given.labels.astype("float64")
    )
    inputs = tuple(x.astype("float64") for x in given.inputs)
    exact = Numbers(inputs, _exact(given.parameters), given.dy.astype("float64"), labels)
    return _passes(case, exact)[1]


def by_kernel(case: Case, given: Numbers, backend: Backend, precision: str) -> dict[str, HostArray]:
    """The same on the device. Raises AssertionError when the kernel does not run."""

    def move(x: HostArray | None) -> Any:
        return None if x is None else backend.from_host(x, str(x.dtype))

    with backend.scope():
        moved = Numbers(
            tuple(map(move, given.inputs)),
            {name: move(x) for name, x in given.parameters.items()},
            move(given.dy),
            move(given.labels),
        )
        kernels = {case.component: backend.kernels_at(precision)[case.component]}
        t, found = _passes(case, moved, xp=backend.xp, kernels=kernels)
        (how,) = (t.run.ran["step"],)
        assert how == "kernel", how
        return {name: backend.to_host(x) for name, x in found.items()}
