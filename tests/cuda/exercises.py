"""Every kernel on small, awkward sizes: for what must hold whatever the numbers are.

An exercise takes a device and a dtype, and returns the arrays that its kernels wrote, in full.
"""

from collections.abc import Callable
from typing import Any

import ml_dtypes  # noqa: F401  (gives NumPy the name bfloat16)
import numpy as np

from tests.cuda.host import HostDevice
from vitref.array import NUMPY, Array, HostArray
from vitref.backends.cupy_kernels import (
    activation,
    column_sum,
    cross_entropy,
    layer_norm,
    loss,
    sigmoid_cross_entropy,
    softmax,
    unfold,
)
from vitref.backends.cupy_kernels.adamw import adamw
from vitref.backends.cupy_kernels.embed import placed
from vitref.backends.cupy_kernels.split import split
from vitref.backends.workspace import fresh
from vitref.testing.structure import arrays

Exercise = Callable[[HostDevice, str], list[Array]]

DTYPES = ("float32", "float16", "bfloat16")


def numbers(dtype: str, *shape: int) -> HostArray:
    """The same for each shape, read-only."""
    x = np.random.default_rng(list(shape)).standard_normal(shape).astype(dtype)
    x.setflags(write=False)
    return x


def layer_norms(device: HostDevice, dtype: str) -> list[Array]:
    """One element; a width without packs; packs of several warps; a row for a whole block; rows in plenty."""
    many, few = numbers(dtype, layer_norm.MANY + 1, 8), numbers(dtype, 8)
    settings: dict[str, Any] = {"eps": 1e-6, "xp": NUMPY, "device": device}
    found: list[Array] = [layer_norm.forward(many, few, few, keep=False, **settings)[0]]
    for rows, width in [(1, 1), (3, 77), (5, 264), (2, 1288), (2, 1031), (130, 8)]:
        x, weight, bias, dy, add = (
            numbers(dtype, *shape)
            for shape in [(rows, width), (width,), (width,), (rows, width), (rows, width)]
        )
        y, saved = layer_norm.forward(x, weight, bias, **settings)
        found += [y, *arrays(saved)]
        for more in (None, add):
            found += layer_norm.backward(dy, saved, xp=NUMPY, add=more, device=device)
    return found


def softmaxes(device: HostDevice, dtype: str) -> list[Array]:
    found: list[Array] = []
    for rows, width in [(1, 1), (5, 197), (2, 513), (2, 1500)]:
        y, saved = softmax.forward(numbers(dtype, rows, width), xp=NUMPY, device=device)
        found += [y, *softmax.backward(numbers(dtype, rows, width), saved, xp=NUMPY, device=device)]
    return found


def gelus(device: HostDevice, dtype: str) -> list[Array]:
    """Each form, with and without bias, in packs and element by element; also in place of the input."""
    found: list[Array] = []
    ws = fresh(device.empty)
    for rows, width in [(1, 1), (19, 24), (35, 264), (3, 77)]:
        x, dy, bias = numbers(dtype, rows, width), numbers(dtype, rows, width), numbers(dtype, width)
        for form in activation.FORMS:
            for given in (None, bias):
                settings: dict[str, Any] = {"form": form, "bias": given, "device": device}
                dbias, same = device.empty((width,), dtype), x.copy()
                found.append(activation.activated(x, **settings))
                found.append(activation.activated_back(dy, x, **settings))
                found.append(activation.activated_back_with_bias(dy, x, dbias, ws=ws, **settings))
                found += [dbias, activation.activated(same, out=same, **settings)]
    return found


def column_sums(device: HostDevice, dtype: str) -> list[Array]:
    """One element; several blocks across; several chunks of rows."""
    return [
        column_sum.column_sum(numbers(dtype, *shape), out=device.empty(shape[1:], dtype), device=device)
        for shape in [(1, 1), (3, 77), (100, 8), (40, 520), (17, 300)]
    ]


def losses(device: HostDevice, dtype: str) -> list[Array]:
    found: list[Array] = [loss.mean(numbers("float32", 300), device)]
    for n, k in [(1, 1), (3, 10), (2, 1000)]:
        x, dy = numbers(dtype, n, k), numbers("float32")
        for labels in (np.arange(n) % k, np.abs(numbers("float32", n, k))):
            for kernel in (cross_entropy, sigmoid_cross_entropy):
                y, saved = kernel.forward(x, labels=labels, xp=NUMPY, device=device)
                found += [y, *kernel.backward(dy, saved, xp=NUMPY, device=device)]
    return found


def patches(device: HostDevice, dtype: str) -> list[Array]:
    """Packs, pairs, single pixels; a remainder at the right and at the bottom; other channels than three."""
    found: list[Array] = []
    for shape, patch_size in [
        ((2, 3, 16, 32), (8, 16)),
        ((2, 3, 29, 42), (14, 14)),
        ((1, 2, 7, 9), (3, 2)),
        ((1, 1, 1, 1), (1, 1)),
        ((3, 1, 16, 16), (16, 8)),
    ]:
        n, c, height, width = shape
        image = numbers(dtype, *shape)
        y, saved = unfold.forward(image, patch_size=patch_size, xp=NUMPY, device=device)
        found += [y, *unfold.backward(numbers(dtype, *y.shape), saved, xp=NUMPY, device=device)]
        pixels = np.random.default_rng(0).integers(0, 256, (n, height, width, c), dtype=np.uint8)
        found.append(unfold.from_bytes(pixels, numbers(dtype, c, 256), patch_size=patch_size, device=device))
    return found


def adamws(device: HostDevice, dtype: str) -> list[Array]:
    """In float32 beside gradients of each dtype; beside float32 also everything in float64."""
    found: list[Array] = []
    rule: dict[str, Any] = {"step": 3, "rate": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8, "decay": 0.1}
    for own, gradient in [("float32", dtype)] + [("float64", "float64")] * (dtype == "float32"):
        for shape in [(1,), (7, 33)]:
            p, m, g = numbers(own, *shape), numbers(own, *shape), numbers(gradient, *shape)
            copy = device.empty(shape, gradient)
            found += [*adamw(p, g, m, np.abs(m), copy=copy, **rule, device=device), copy]
    return found


def splits(device: HostDevice, dtype: str) -> list[Array]:
    """TF32 parts: of float32 alone."""
    return [
        split(numbers("float32", *shape), rows_summed=summed, right=right, device=device)
        for shape in [(1, 1), (5, 8), (7, 9)] * (dtype == "float32")
        for summed in (False, True)
        for right in (False, True)
    ]


def sequences(device: HostDevice, dtype: str) -> list[Array]:
    """Packs and single elements; with a class token that has a position, one that has none, and without."""
    found: list[Array] = []
    for width in (8, 5, 264):
        for token, rows in ((numbers(dtype, 1, 1, width), 4), (numbers(dtype, 1, 1, width), 3), (None, 3)):
            found.append(placed(numbers(dtype, 2, 3, width), token, numbers(dtype, 1, rows, width), device))
    return found


EXERCISES: dict[str, tuple[Exercise, ...]] = {
    "adamw": (adamws,),
    "column_sum": (column_sums,),
    "gelu": (gelus,),
    "layer_norm": (layer_norms,),
    "losses": (losses,),
    "patchify": (patches,),
    "softmax": (softmaxes,),
    "split": (splits,),
    "tokens": (sequences,),
}
"""Source -> what runs all its kernels. Attention has cases of its own: attention_cases.py."""


def exercised(source: str, device: HostDevice, dtypes: tuple[str, ...] = DTYPES) -> list[HostArray]:
    """What all kernels of a source write."""
    runs = EXERCISES[source]
    return [np.asarray(x) for exercise in runs for dtype in dtypes for x in exercise(device, dtype)]
