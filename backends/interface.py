"""What a backend is: an array library, two transfers, and kernels that replace components."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from vitref.array import Array, HostArray, Namespace


class Kernel(Protocol):
    """A module that replaces a whole component, forward and backward, under that component's name.

    PARAMS   names relative to the step ("fc1.weight" for a composite); a kernel for a composite refuses
             a model that lacks one of them (qkv_bias False)
    HIDES    the steps it swallows, relative to the step; empty for a primitive
    YIELDS   True when it steps aside where everything is recorded: a kernel that is there for memory alone
    ADDS     True when its backward takes `add`, a further cotangent of the component's only input
    refuses  why it cannot take these shapes, dtypes or options; None when it can
    forward  (*inputs, *parameters, **static, xp, ws, keep) -> (y, saved)
    backward (dy, saved, *, xp, ws[, add]) -> (cotangents of the inputs..., of the parameters...)

    `ws.empty(role, shape, dtype)` gives a buffer that the next run of the same signature reuses; with
    `ws` None the kernel allocates. What is returned never aliases a buffer of `ws`. With `keep` False
    nothing needs to be saved. `saved` may be consumed by backward only when `ws` is given.
    """

    PARAMS: tuple[str, ...]
    HIDES: tuple[str, ...]
    ADDS: bool

    def refuses(self, *inputs: Array, **static: Any) -> str | None: ...
    def forward(self, *arrays: Array, **static: Any) -> tuple[Any, Any]: ...
    def backward(self, *cotangent_and_saved: Any, **extra: Any) -> tuple[Array, ...]: ...


@dataclass(frozen=True)
class Backend:
    """name        as in `backend="numpy"`
    xp          the functions of `vitref.array.VOCABULARY`
    from_host   (NumPy array, dtype name) -> array of `xp`, converted; may share memory with its argument
    to_host     array of `xp` -> NumPy array; the only call that waits for a device
    dtypes      names of the dtypes it computes in
    precision   names of the ways it multiplies float32 matrices; the first is the default
    kernels     component name -> kernel
    """

    name: str
    xp: Namespace
    from_host: Callable[[HostArray, str], Array]
    to_host: Callable[[Array], HostArray]
    dtypes: tuple[str, ...]
    precision: tuple[str, ...] = ("strict",)
    kernels: Mapping[str, Kernel] = field(default_factory=dict)
