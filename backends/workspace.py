"""Buffers that kernels use again: one pool per backend, one workspace per running pass.

A pass takes a workspace out of the pool and puts it back, so that two passes at the same time never
share one. What has not been used for `KEPT` passes is let go.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vitref.array import Array

Empty = Callable[[tuple[int, ...], Any], Array]
"""(shape, dtype) -> an array with anything in it."""

KEPT = 2
"""Passes: training and evaluation in turns find each its buffers."""


@dataclass(frozen=True)
class Scratch:
    """What one step gets from its workspace.

    workspace   None: everything is allocated
    step        the path of the step; "" when nothing is kept for a backward pass
    outs        parameter, relative to the step -> the caller's array for its gradient
    """

    allocate: Empty
    workspace: "Workspace | None" = None
    step: str = ""
    outs: Mapping[str, Array] = field(default_factory=dict)

    def empty(self, role: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """For what is saved: this step's own until it is undone."""
        return self._buffer((self.step, role), shape, dtype)

    def scratch(self, role: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """For one call of forward or backward: the next step may get the same."""
        return self._buffer(("scratch of a call", role), shape, dtype)

    def out(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """For the gradient of a parameter: may be returned."""
        given = self.outs.get(name)
        return self.allocate(shape, dtype) if given is None else given

    def _buffer(self, key: tuple[str, str], shape: tuple[int, ...], dtype: Any) -> Array:
        if self.workspace is None:
            return self.allocate(shape, dtype)
        return self.workspace.buffer((*key, tuple(shape), str(dtype)), shape, dtype)


def fresh(allocate: Empty) -> Scratch:
    """A workspace that always allocates: for a kernel that was given None."""
    return Scratch(allocate)


@dataclass
class Workspace:
    """The buffers of one pass at a time."""

    allocate: Empty
    keep: bool = True
    outs: Mapping[str, Array] = field(default_factory=dict)
    buffers: dict[Any, Array] = field(default_factory=dict)
    used: dict[Any, int] = field(default_factory=dict)
    passes: int = 0
    idle: int = 0

    def at(self, path: str, parameters: Mapping[str, str]) -> Scratch:
        """For the step of this path, with its parameters: relative name -> name in the model."""
        outs = {name: self.outs[full] for name, full in parameters.items() if full in self.outs}
        return Scratch(self.allocate, self, path if self.keep else "", outs)

    def buffer(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        if key not in self.buffers:
            self.buffers[key] = self.allocate(shape, dtype)
        self.used[key] = self.passes
        return self.buffers[key]

    def begin(self, keep: bool, outs: Mapping[str, Array]) -> None:
        """Start a pass; let go of what the last ones did not use."""
        self.keep, self.outs, self.passes = keep, outs, self.passes + 1
        for key in [key for key, last in self.used.items() if last < self.passes - KEPT]:
            del self.buffers[key], self.used[key]


class Pool:
    """The workspaces of a backend that no pass is using."""

    def __init__(self, allocate: Empty | None) -> None:
        self._allocate = allocate
        self._idle: list[Workspace] = []
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, keep: bool, outs: Mapping[str, Array] | None = None) -> Iterator[Workspace | None]:
        """A workspace for one pass; None when the backend keeps no buffers.

        keep   whether a backward pass follows
        outs   parameter -> array for its gradient
        """
        if self._allocate is None:
            yield None
            return
        with self._lock:
            workspace = self._idle.pop() if self._idle else Workspace(self._allocate)
        workspace.begin(keep, outs or {})
        try:
            yield workspace
        finally:
            workspace.outs, workspace.idle = {}, 0
            with self._lock:
                for other in self._idle:
                    other.idle += 1
                self._idle = [other for other in self._idle if other.idle <= KEPT] + [workspace]

    def clear(self) -> None:
        """Let go of every buffer that no pass is using."""
        with self._lock:
            self._idle.clear()
