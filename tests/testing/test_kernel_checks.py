"""The duties of a kernel are checked: each breach below is noticed, and a right kernel passes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vitref import backends
from vitref.backends.interface import Backend
from vitref.components import layer_norm
from vitref.testing import suite

NUMPY: Backend = backends.get("numpy")
BUFFERED = Backend("buffered", NUMPY.xp, NUMPY.from_host, NUMPY.to_host, NUMPY.dtypes, empty=np.empty)


def out(ws: Any, name: str, gradient: Any) -> Any:
    """The gradient, in the array that the workspace gives for it."""
    if ws is None:
        return gradient
    array = ws.out(name, gradient.shape, gradient.dtype)
    array[...] = gradient
    return array


def kept(ws: Any, how: str, role: str, x: Any) -> Any:
    """A copy of x, in a buffer of the workspace."""
    if ws is None:
        return x.copy()
    buffer = getattr(ws, how)(role, x.shape, x.dtype)
    buffer[...] = x
    return buffer


def norm(**changes: Any) -> SimpleNamespace:
    """A right kernel for LayerNorm with buffers and ADDS, but for the changes."""

    def forward(x: Any, weight: Any, bias: Any, *, eps: float, xp: Any, ws: Any, keep: bool) -> Any:
        y, saved = layer_norm.forward(x, weight, bias, eps=eps)
        return y, saved._replace(xhat=kept(ws, "empty", "xhat", saved.xhat)) if keep else None

    def backward(dy: Any, saved: Any, *, xp: Any, ws: Any, add: Any = None) -> Any:
        dx, dweight, dbias = layer_norm.backward(dy, saved)
        return dx if add is None else dx + add, out(ws, "weight", dweight), out(ws, "bias", dbias)

    declared = {"PARAMS": ("weight", "bias"), "HIDES": (), "ADDS": True, "refuses": lambda x, *, eps: None}
    return SimpleNamespace(**(declared | {"forward": forward, "backward": backward} | changes))


RIGHT = norm()


@pytest.mark.parametrize("check", suite.KERNEL_CHECKS)
def test_a_right_kernel_passes(check: str) -> None:
    suite.verify("layer_norm", check, BUFFERED, part=RIGHT, share=0.2)


@pytest.mark.parametrize("check", suite.KERNEL_CHECKS)
def test_a_component_has_no_such_duties(check: str) -> None:
    suite.verify("layer_norm", check, NUMPY, share=0.1)


def test_without_buffers_of_the_backend_a_workspace_is_not_asked_for() -> None:
    kernel = norm(forward=lambda *a, ws, **e: RIGHT.forward(*a, ws=ws and 1 / 0, **e))
    suite.verify("layer_norm", "workspace", NUMPY, part=kernel, share=0.1)


def dropped(*arrays: Any, add: Any = None, **extra: Any) -> Any:
    return RIGHT.backward(*arrays, **extra)


def doubled(*arrays: Any, add: Any = None, **extra: Any) -> Any:
    return RIGHT.backward(*arrays, add=None if add is None else 2 * add, **extra)


def added_in_place(dy: Any, saved: Any, *, xp: Any, ws: Any, add: Any = None) -> Any:
    dx, dweight, dbias = layer_norm.backward(dy, saved)
    if add is None:
        return dx, dweight, dbias
    add += dx
    return add, dweight, dbias


def added_everywhere(*arrays: Any, add: Any = None, **extra: Any) -> Any:
    dx, dweight, dbias = RIGHT.backward(*arrays, add=add, **extra)
    return dx, dweight, dbias if add is None else dbias + add.sum()


def unsaved(*arrays: Any, keep: bool, **extra: Any) -> Any:
    y, saved = RIGHT.forward(*arrays, keep=True, **extra)
    return (y, saved) if keep else (y * 0.5, None)


def lent(*arrays: Any, ws: Any, **extra: Any) -> Any:
    y, saved = RIGHT.forward(*arrays, ws=ws, **extra)
    return kept(ws, "empty", "y", y), saved


def lent_gradient(*arrays: Any, ws: Any, **extra: Any) -> Any:
    dx, *rest = RIGHT.backward(*arrays, ws=ws, **extra)
    return kept(ws, "empty", "dx", dx), *rest


def forgotten(*arrays: Any, ws: Any, keep: bool, **extra: Any) -> Any:
    """What is saved lies in scratch, which another step may overwrite."""
    y, saved = RIGHT.forward(*arrays, ws=ws, keep=keep, **extra)
    saved = saved and saved._replace(xhat=kept(ws, "scratch", "xhat", saved.xhat))
    if ws is not None and keep:
        forgotten_later.append(saved.xhat)
    return y, saved


forgotten_later: list[Any] = []


def over_forgotten(dy: Any, saved: Any, *, ws: Any, **extra: Any) -> Any:
    for buffer in forgotten_later:
        buffer[...] = np.nan
    forgotten_later.clear()
    return RIGHT.backward(dy, saved, ws=ws, **extra)


def summed_up(*arrays: Any, ws: Any, **extra: Any) -> Any:
    """A buffer is taken to be zero at first, and again at the next call."""
    dx, dweight, dbias = RIGHT.backward(*arrays, ws=ws, **extra)
    if ws is None:
        return dx, dweight, dbias
    total = ws.empty("total", dweight.shape, dweight.dtype)
    total[...] = np.where(np.isnan(total), 0, total) + dweight
    return dx, out(ws, "weight", total), dbias


def elsewhere(*arrays: Any, ws: Any, **extra: Any) -> Any:
    """The array for the gradient is asked for, and something else is returned."""
    dx, dweight, dbias = RIGHT.backward(*arrays, ws=ws, **extra)
    if ws is not None:
        ws.out("weight", dweight.shape, dweight.dtype)[...] = 0
    return dx, dweight.copy(), dbias


BREACHES: dict[str, tuple[str, dict[str, Any]]] = {
    "the further cotangent dropped": ("adds", {"backward": dropped}),
    "the further cotangent twice": ("adds", {"backward": doubled}),
    "the further cotangent overwritten": ("adds", {"backward": added_in_place}),
    "the further cotangent in the bias": ("adds", {"backward": added_everywhere}),
    "another result where nothing is kept": ("inference", {"forward": unsaved}),
    "y in a buffer": ("workspace", {"forward": lent}),
    "dx in a buffer": ("workspace", {"backward": lent_gradient}),
    "saved in scratch": ("workspace", {"forward": forgotten, "backward": over_forgotten}),
    "a sum that is never begun": ("workspace", {"backward": summed_up}),
    "a gradient in another array than the given one": ("workspace", {"backward": elsewhere}),
}


@pytest.mark.parametrize("what", BREACHES)
def test_a_breach_is_noticed(what: str) -> None:
    check, changes = BREACHES[what]
    with pytest.raises(AssertionError, match=r"has changed|is off by"):
        suite.verify("layer_norm", check, BUFFERED, part=norm(**changes), share=0.2)


def test_a_kernel_is_asked_with_inputs_alone() -> None:
    """`refuses` sees no parameters, in the suite as in a run."""
    asked: list[int] = []

    def refuses(*inputs: Any, eps: float) -> str | None:
        asked.append(len(inputs))
        return None

    suite.verify("layer_norm", "inference", BUFFERED, part=norm(refuses=refuses), share=0.1)
    assert set(asked) == {1}
