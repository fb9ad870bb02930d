"""What a backend is: an array library, its transfers, and kernels that replace components."""

from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

from vitref.array import Array, HostArray, Namespace
from vitref.backends.workspace import Empty, Pool


class Kernel(Protocol):
    """A module that replaces a whole component, forward and backward, under that component's name.

    PARAMS   names relative to the step ("fc1.weight" for a composite)
    absent   (**static) -> the PARAMS that a model with these static arguments lacks; may be left out. The
             kernel receives None for them, and returns None as their gradients
    HIDES    the steps it swallows, relative to the step; empty for a primitive
    YIELDS   True when it steps aside where everything is recorded: a kernel that is there for memory alone
    ADDS     True when its backward takes `add`, a further cotangent of the component's only input
    refuses  why it cannot take these shapes, dtypes or options; None when it can
    forward  (*inputs, *parameters, **static, xp, ws, keep) -> (y, saved)
    backward (dy, saved, *, xp, ws[, add]) -> (cotangents of the inputs..., of the parameters...)

    `ws` is a `vitref.backends.workspace.Scratch`, or None: the kernel then allocates. What is returned
    never aliases a buffer of `ws`, except the arrays of `ws.out`. With `keep` False nothing needs to be
    saved. `saved` may be consumed by backward only when `ws` is given.
    """

    PARAMS: tuple[str, ...]
    HIDES: tuple[str, ...]
    ADDS: bool

    def refuses(self, *inputs: Array, **static: Any) -> str | None: ...
    def forward(self, *arrays: Array, **static: Any) -> tuple[Any, Any]: ...
    def backward(self, *cotangent_and_saved: Any, **extra: Any) -> tuple[Array, ...]: ...


Kernels = Mapping[str, Kernel]
"""Component name -> kernel."""

Compute = Callable[[Array], Array]

Replay = Callable[[Any, Hashable, Compute, Array], Array]
"""(owner, key, compute, image) -> compute(image), by a recording of an earlier call where there is one.

Calls with the same owner (the weights; held weakly) and the same key are the same computation on
another image of the same shape and dtype.
"""


@dataclass(frozen=True, eq=False)
class Backend:
    """name         as in `backend="numpy"`
    xp           the functions of `vitref.array.VOCABULARY`
    from_host    (NumPy array, dtype name) -> array of `xp`, converted; may share memory with its argument
    to_host      array of `xp` -> NumPy array of its dtype; the only call that waits for a device
    dtypes       names of the dtypes it computes in
    precision    names of the ways it multiplies float32 matrices; the first is the default
    kernels      component name -> kernel
    modes        precision -> what to use in the place of `kernels`
    empty        (shape, dtype) -> array with anything in it; None when it keeps no buffers between passes
    scope        () -> context manager that every pass runs in: device and stream, threads of BLAS, ...
    from_dlpack  array of another library -> array of `xp` in the same memory; None when it takes NumPy
                 arrays alone. Raises BackendError when the memory is not this backend's
    pixels       (uint8 NumPy array (N, H, W, C), float64 table (C, 256), dtype name) -> (N, C, H, W): each
                 value replaced by that of the table, which is rounded to the dtype first; None where
                 pictures are normalised on the host
    stages       whether from_host and pixels may be called outside `scope`, and then work beside a pass that
                 runs: the next batch is on its way while this one is computed
    on_device    whether its arrays live elsewhere than NumPy's: parameters are then moved once and kept
                 with their Weights
    replay       how it records forward passes, where it does
    rules        update rules of training, by name ("adamw"), in the place of `vitref.training`'s
    versions     library -> version
    """

    name: str
    xp: Namespace
    from_host: Callable[[HostArray, str], Array]
    to_host: Callable[[Array], HostArray]
    dtypes: tuple[str, ...]
    precision: tuple[str, ...] = ("strict",)
    kernels: Kernels = field(default_factory=dict)
    modes: Mapping[str, Kernels] = field(default_factory=dict)
    empty: Empty | None = None
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext
    from_dlpack: Callable[[Any], Array] | None = None
    pixels: Callable[[HostArray, HostArray, str], Array] | None = None
    stages: bool = False
    on_device: bool = False
    replay: Replay | None = None
    rules: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def kernels_at(self, precision: str) -> Kernels:
        """The kernels that multiply in this way."""
        return self.modes.get(precision, self.kernels)

    @cached_property
    def workspaces(self) -> Pool:
        """The buffers that passes on this backend share, one after another."""
        return Pool(self.empty)


def bound(module: ModuleType, **settings: Any) -> Kernel:
    """The kernel of a module whose functions take these settings (a device, a team of threads) besides."""
    functions = ("refuses", "forward", "backward")
    kernel: Any = SimpleNamespace(
        **{name: value for name, value in vars(module).items() if name in _DECLARED},
        **{name: partial(getattr(module, name), **settings) for name in functions},
    )
    return kernel  # type: ignore[no-any-return]


_DECLARED = ("__name__", "PARAMS", "HIDES", "ADDS", "YIELDS", "absent")
