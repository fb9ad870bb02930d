"""What a kernel must have beside the properties of its component: the duties of `vitref.backends.interface`.

One function each; AssertionError says what does not hold. A component, or an implementation that is no
kernel, has no such duties.
"""

from typing import Any

import numpy as np

from vitref.array import Array
from vitref.backends.interface import Backend
from vitref.testing.checks import Check, close, identical
from vitref.testing.problem import Problem
from vitref.testing.structure import apply
from vitref.testing.subject import Subject
from vitref.testing.values import FLOATING, draw


class Buffers:
    """A workspace for one kernel that is used again: with NaN in it at first, and in scratch at every call.

    outs   parameter -> the array that was given for its gradient in this call
    """

    def __init__(self, backend: Backend) -> None:
        assert backend.empty is not None
        self._allocate = backend.empty
        self._kept: dict[Any, Array] = {}
        self._scratch: dict[Any, Array] = {}
        self.outs: dict[str, Array] = {}

    def call(self) -> "Buffers":
        """Begin a call of forward or backward."""
        self._scratch, self.outs = {}, {}
        return self

    def empty(self, role: str, shape: tuple[int, ...], dtype: Any) -> Array:
        return self._found(self._kept, (role, tuple(shape), str(dtype)), shape, dtype)

    def scratch(self, role: str, shape: tuple[int, ...], dtype: Any) -> Array:
        return self._found(self._scratch, (role, tuple(shape), str(dtype)), shape, dtype)

    def out(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        return self._found(self.outs, name, shape, dtype)

    def _found(self, buffers: dict[Any, Array], key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        if key not in buffers:
            buffers[key] = self._allocate(tuple(shape), dtype)
            if hasattr(buffers[key], "fill") and buffers[key].dtype.kind in FLOATING:
                buffers[key].fill(np.nan)
        return buffers[key]


def adds(s: Subject, p: Problem) -> None:
    """With ADDS, `add` is added to the cotangent of the only input, and to nothing else."""
    if not (s.is_kernel and s.part.ADDS):
        return
    args, static, dy = s.to_device(p.args), s.to_device(p.static), s.to_device(p.dy)
    rng, x = p.rng("add"), p.args[0]
    assert x is not None
    add = draw(x.shape, "plain", rng, p.case.dtype)
    plain = s.to_host(s.backward(dy, s.forward(args, static)[1]))
    for layout in ("contiguous", p.case.layout):
        given = s.to_device(add, layout)
        found = s.to_host(s.backward(dy, s.forward(args, static)[1], add=given))
        size = p.sizes.grads[0] + np.max(np.abs(add), initial=0.0)
        close("dx with add", found[0], plain[0] + add, size, p.tolerance())
        identical("a parameter's gradient with add", found[1:], plain[1:])
        identical("add after backward", s.to_host(given), add)


def inference(s: Subject, p: Problem) -> None:
    """With nothing kept, y is the same up to rounding."""
    args, static = s.to_device(p.args, p.case.layout), s.to_device(p.static)
    kept, _ = s.forward(args, static)
    alone, _ = s.forward(args, static, keep=False)
    close("y with keep=False", s.to_host(alone), s.to_host(kept), p.sizes.y, p.tolerance())


def workspace(s: Subject, p: Problem) -> None:
    """With buffers that are used again the results are those without, and stay as they were."""
    if not s.is_kernel or s.backend.empty is None:
        return
    buffers, rng = Buffers(s.backend), p.rng("other values")
    others = apply(lambda x: draw(x.shape, "plain", rng, p.case.dtype), (p.args, p.dy))
    results = [_passes(s, p, buffers, *values) for values in ((p.args, p.dy), others, (p.args, p.dy))]
    copies = [s.to_host(result) for result in results]
    first, again = copies[0], s.to_host(_passes(s, p, buffers, *others))
    identical("a result with used buffers", copies[2], first)
    identical("a result with used buffers", again, copies[1])
    identical("an earlier result", s.to_host(results), copies)
    y, grads = s.passes(p.args, p.static, p.dy)
    close("y with buffers", first[0], y, p.sizes.y, p.tolerance())
    close("a gradient with buffers", first[1], grads, p.sizes.grads, p.tolerance())


def _passes(s: Subject, p: Problem, buffers: Buffers, args: Any, dy: Any) -> tuple[Any, tuple[Any, ...]]:
    """y and the gradients, on the device; an array that was asked for as a gradient holds that gradient."""
    y, saved = s.forward(s.to_device(args), s.to_device(p.static), buffers.call())
    grads = s.backward(s.to_device(dy), saved, buffers.call())
    parameters = dict(zip(s.part.PARAMS, grads[p.inputs :], strict=True))
    for name, array in buffers.outs.items():
        what = f"the array given for the gradient of {name}"
        identical(what, s.to_host(array), s.to_host(parameters[name]))
    return y, grads


KERNEL_CHECKS: dict[str, Check] = {check.__name__: check for check in (adds, inference, workspace)}
