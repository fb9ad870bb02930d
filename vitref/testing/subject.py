"""What is under test: an implementation of a component on a backend, called with host arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.backends.interface import Backend
from vitref.run import Part
from vitref.testing.structure import apply
from vitref.testing.values import FLOATING, place


@dataclass(frozen=True)
class Subject:
    """`part` on `backend`. A kernel (it has `refuses`) is called without workspace, unless one is given."""

    part: Part
    backend: Backend

    @property
    def is_kernel(self) -> bool:
        return hasattr(self.part, "refuses")

    def to_device(self, values: Any, layout: str = "contiguous") -> Any:
        """Arrays of the backend; integers (labels) are always contiguous."""
        layouts = dict.fromkeys(FLOATING, layout)
        return apply(lambda x: place(x, layouts.get(x.dtype.kind, "contiguous"), self.backend), values)

    def to_host(self, values: Any) -> Any:
        """Copies, which nobody can write into any more."""
        return apply(lambda x: np.array(self.backend.to_host(x)), values)

    def forward(
        self, args: Any, static: Mapping[str, Any], ws: Any = None, keep: bool = True
    ) -> tuple[Any, Any]:
        extra = {"ws": ws, "keep": keep} if self.is_kernel else {}
        y, saved = self.part.forward(*args, **static, **extra, xp=self.backend.xp)
        return y, saved

    def backward(self, dy: Any, saved: Any, ws: Any = None, add: Any = None) -> tuple[Any, ...]:
        extra = {"ws": ws} if self.is_kernel else {}
        if add is not None:
            extra["add"] = add
        return tuple(self.part.backward(dy, saved, **extra, xp=self.backend.xp))

    def passes(
        self, args: Any, static: Mapping[str, Any], dy: Any, layout: str = "contiguous"
    ) -> tuple[Any, tuple[HostArray | None, ...]]:
        """y and the gradients, from host arrays to host arrays."""
        y, saved = self.forward(self.to_device(args, layout), self.to_device(dict(static)))
        grads = self.backward(self.to_device(dy, layout), saved)
        return self.to_host(y), self.to_host(grads)
