"""Everything that a backend must pass, in one call: `vitref.backends.check`. Needs Hypothesis."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from vitref.array import VOCABULARY
from vitref.backends.interface import Backend
from vitref.testing import suite
from vitref.testing.cases import SPECS
from vitref.testing.models import MODEL_CHECKS, verify_model
from vitref.testing.tolerance import ROUNDING
from vitref.testing.values import LAYOUTS, place


class Failure(NamedTuple):
    """subject  "backend" itself, a component, "kernel NAME", or "models"
    check    what it does not pass
    reason   the error, with the smallest case that was found
    """

    subject: str
    check: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subject}, {self.check}: {self.reason}"


WHOLE = ("float32", "float64")
"""Dtypes in which components must be right as they stand; in 16 bits a backend has kernels that widen."""

EVERY_COMPONENT = 0.3
"""The share of models in which each component occurs: one in five has a certain loss."""

Task = tuple[str, str, Callable[[], None]]
"""Subject, check, and what raises when it does not pass."""


def check(backend: Backend, share: float) -> list[Failure]:
    """What fails, with this share of the Hypothesis profile's number of cases.

    Functions and transfers come first, then components and kernels, then whole models; where something
    fails, what is built upon it is not tried.
    """
    stages = (own_tasks(backend), part_tasks(backend, share), model_tasks(backend, share))
    return next(filter(None, map(failures, stages)), [])


def failures(tried: Iterator[Task]) -> list[Failure]:
    found = ((subject, name, _reason(task)) for subject, name, task in tried)
    return [Failure(subject, name, reason) for subject, name, reason in found if reason is not None]


def own_tasks(backend: Backend) -> Iterator[Task]:
    for test in (vocabulary, dtypes, transfers):
        yield "backend", test.__name__, _scoped(backend, partial(test, backend))


def part_tasks(backend: Backend, share: float) -> Iterator[Task]:
    """Components through `xp`, and the kernels that stand for components."""
    verify = partial(suite.verify, backend=backend, share=share)
    whole = dataclasses.replace(backend, dtypes=tuple(d for d in backend.dtypes if d in WHOLE))
    kernels = backend.kernels_at(backend.precision[0])
    for component in suite.COMPONENTS if whole.dtypes else ():
        for name in suite.CHECKS:
            plain = partial(verify, component, name, backend=whole)
            yield component, name, _scoped(backend, plain)
    for component in (component for component in kernels if component in SPECS):
        for name in (*suite.CHECKS, *suite.KERNEL_CHECKS):
            part = partial(verify, component, name, part=kernels[component])
            yield f"kernel {component}", name, _scoped(backend, part)


def model_tasks(backend: Backend, share: float) -> Iterator[Task]:
    for name in MODEL_CHECKS:
        enough = max(share, EVERY_COMPONENT) if name == "kernels_run" and backend.kernels else share
        yield "models", name, partial(verify_model, backend, name, share=enough)


def vocabulary(backend: Backend) -> None:
    """`xp` has every function that components call."""
    missing = [name for name in VOCABULARY if not callable(getattr(backend.xp, name, None))]
    assert not missing, f"xp has no {', '.join(missing)}"


def dtypes(backend: Backend) -> None:
    """Each is one whose rounding is known, and one way of multiplying is named."""
    unknown = [name for name in backend.dtypes if name not in ROUNDING]
    assert backend.dtypes, "no dtypes"
    assert not unknown, f"unknown dtypes: {', '.join(unknown)}"
    assert backend.precision, "no precision"


def transfers(backend: Backend) -> None:
    """Arrays of every dtype come back as they went; float64 is converted; read-only arrays are taken."""
    exact = np.random.default_rng(0).standard_normal((2, 3, 4))
    exact.setflags(write=False)
    for dtype in backend.dtypes:
        expected = exact.astype(dtype)
        for shape in ((2, 3, 4), (24,), (2, 1, 12)):
            _same(backend, backend.from_host(exact.reshape(shape), dtype), expected.reshape(shape))
        for layout in LAYOUTS:
            _same(backend, place(expected, layout, backend), expected)
        _same(backend, backend.from_host(exact[0, 0, 0], dtype), expected[0, 0, 0])
    labels = np.arange(5)
    _same(backend, backend.from_host(labels, labels.dtype.name), labels)


def _same(backend: Backend, array: object, expected: np.ndarray) -> None:
    host = backend.to_host(array)
    assert isinstance(host, np.ndarray), f"to_host gives a {type(host).__name__}"
    assert (host.shape, host.dtype) == (expected.shape, expected.dtype), (
        f"an array of shape {expected.shape} and {expected.dtype} comes back as {host.shape}, {host.dtype}"
    )
    assert host.tobytes() == np.asarray(expected).tobytes(), "an array comes back with other numbers"


def _scoped(backend: Backend, task: Callable[[], None]) -> Callable[[], None]:
    def scoped() -> None:
        with backend.scope():
            task()

    return scoped


def _reason(task: Callable[[], None]) -> str | None:
    """Why the task raises; None when it does not."""
    try:
        task()
    except Exception as error:  # a backend under test may raise anything
        notes = getattr(error, "__notes__", [])
        name = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        return "\n".join([f"{name}{error}", *notes])
    return None
