"""A window: links of the chain from one given output to the next, evaluated for themselves.

With a full trace every link is a window; with nothing but the final output the whole model is one. Ladders,
hypotheses and the matched filter evaluate windows, since what lies outside cannot change what is inside.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.verify.evaluate import Evaluation, Model
from vitref.verify.examine import Given
from vitref.verify.measure import Measured, measured
from vitref.verify.numerics import Realisation
from vitref.verify.steps import Steps

Taps = Mapping[str, HostArray]


@dataclass(frozen=True)
class Window:
    """Links `start` to `stop`, both included; `backward` when cotangents are evaluated too."""

    start: int
    stop: int
    backward: bool = False

    @property
    def places(self) -> range:
        return range(self.start, self.stop + 1)


def boundary(given: Given, steps: Steps, place: int) -> str | None:
    """The given output that leaves a link, if there is one."""
    name = steps.leaving(place)
    return name if name in given.names else None


def forward_window(given: Given, steps: Steps, place: int) -> Window:
    """From the last given output before the link to the first one at or behind it."""
    final = steps.steps[-1].place
    start, stop = place, place
    while start > 0 and boundary(given, steps, start - 1) is None:
        start -= 1
    while stop < final and boundary(given, steps, stop) is None:
        stop += 1
    return Window(start, stop)


def backward_window(given: Given, steps: Steps, place: int) -> Window:
    """The same for cotangents: its links lie between two given ones, and start from a given output."""
    final = steps.steps[-1].place

    def is_known(at: int) -> bool:
        return f"{steps.leaving(at)}:dy" in given.names

    start, stop = place, place
    while start > 0 and not is_known(start - 1):
        start -= 1
    while stop < final and not is_known(stop):
        stop += 1
    return Window(forward_window(given, steps, start).start, stop, True)


def taps_in(given: Given, window: Window) -> list[str]:
    """The candidate's taps that a window evaluates."""
    names = [name for place in window.places for name in given.outputs(place)]
    if window.backward:
        for place in reversed(range(max(window.start - 1, 0), window.stop + 1)):
            names += [tap for tap in given.cotangents(place) if given.steps.place(tap) in window.places]
            names += given.gradients(place) if place in window.places else []
    return names


def evaluated(
    model: Model, realisation: Realisation | None, given: Given, window: Window, wanted: Iterable[str]
) -> dict[str, HostArray]:
    """Tap -> its value, from the candidate's own inputs."""
    keep, found = set(wanted), {}
    evaluation = Evaluation(model, realisation)
    inputs: dict[int, HostArray] = {}
    name = boundary(given, given.steps, window.start - 1) if window.start else None
    x: Any = model.image if name is None else np.asarray(given.taps[name], np.float64)
    for place in window.places:
        inputs[place] = x
        if window.backward or place < window.stop or not keep.isdisjoint(given.steps.outputs_of(place)):
            done = evaluation.forward(place, x, given.forward(place))
            x = done.value
            found.update({tap: array for tap, array in done.taps.items() if tap in keep})
    dy: HostArray | None = None
    for place in reversed(window.places) if window.backward else ():
        done = evaluation.backward(place, inputs[place], dy, given.both(place))
        dy = done.value
        entering = f"{given.steps.leaving(place - 1)}:dy" if place else ""
        if entering in keep:
            arrives = np.zeros(inputs[place].shape) if dy is None else dy
            found[entering] = arrives + model.cotangents.get(entering.removesuffix(":dy"), 0)
        found.update({tap: array for tap, array in done.taps.items() if tap in keep and tap not in found})
    return found


def compared(
    taps: Taps, reference: Taps, runs: list[dict[str, HostArray]], stored: Mapping[str, str]
) -> dict[str, Measured]:
    """Tap -> the candidate against `reference`, in multiples of the noise of `runs`."""
    return {
        tap: measured(tap, np.asarray(taps[tap]), reference[tap], [run[tap] for run in runs], stored[tap])
        for tap in reference
    }
