"""`vitref.compare`: is a candidate the same model, up to rounding; and if not, which steps are wrong.

Every tap is judged twice: from the candidate's own inputs, which finds every wrong step, and from the image
alone, which finds what drifts. No tolerance is asked for: noise is measured (see `vitref.verify.rule`).
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.errors import ConfigError
from vitref.verify import diagnose as diagnosis
from vitref.verify import ends, findings, ladder
from vitref.verify.candidate import files
from vitref.verify.candidate.opening import extras, open_candidate
from vitref.verify.evaluate import Model
from vitref.verify.examine import Formats, Given, examine, formats
from vitref.verify.judged import Judged
from vitref.verify.mistakes import Mistake
from vitref.verify.precision import LADDER, UNIT
from vitref.verify.reference import Reference, resolve
from vitref.verify.rule import RUNS
from vitref.verify.steps import Steps, table
from vitref.verify.verdicts import Report
from vitref.verify.windows import Window, evaluated

Progress = Callable[[str, float], None]
"""Told what is being done, and which share of it is."""


def compare(
    reference: Any,
    candidate: Any,
    *,
    weights: Any = None,
    image: Any = None,
    labels: Any = None,
    cotangent: Any = None,
    loss: str = "cross_entropy",
    label_smoothing: float = 0.0,
    map: Any = None,
    precision: str | None = None,
    diagnose: bool = False,
    hypotheses: Iterable[Mistake] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Judge a candidate's activations and gradients.

    reference    a trace (`vitref.trace(...)` or its file), or weights or their path, with an image
    candidate    a file or folder, or a mapping from name to array: all taps, some, or the final output alone
    weights      those that made a trace, where its file does not hold them
    image, labels, cotangent, loss, label_smoothing
                 as in `vitref.backward`, for a reference that is weights; with gradients in the candidate,
                 labels or a cotangent are needed
    map          the candidate's names -> taps: a mapping or a JSON file, for names that are not known
    precision    in which the candidate computes, where its numbers do not show it: "tf32" for a GPU that
                 rounds the operands of products; default: read from the bits
    diagnose     also name the mistake (see `vitref.verify.diagnose`)
    hypotheses   the mistakes that may be named; default: all of `vitref.verify.mistakes`
    progress     called with what is being done, and the share of it

    Raises ConfigError, CheckpointError or ImageError for anything that cannot be compared: another model's
    tensors, values that are not finite, wrong shapes, unknown names. There is then no verdict.
    """
    start, report = time.perf_counter(), progress or (lambda what, share: None)
    dump = files.opened(candidate)
    given = extras(dump).inputs
    held = resolve(
        reference,
        weights=weights,
        image=image,
        own_image=given.get("image"),
        truth=labels,
        cotangent=cotangent,
        loss=loss,
        label_smoothing=label_smoothing,
    )
    model = held.model
    steps = table(model.config, len(model.image), model.loss if model.labels is not None else None)
    ends.check_cotangents(model, steps.shapes)
    ends.check_candidate(model, given)
    if map is None:
        ends.require(model, dump.arrays)
    expected = steps.expected if model.differentiates else steps.shapes
    opened = open_candidate(
        dump, expected=expected, config=model.config, map=map, reference=values(model, steps)
    )
    taps = _with_image(opened, given, held)
    report("Reading", 0.0)
    kinds = formats(taps, steps) if precision is None else _stated(precision, taps)
    found = examine(held.model, taps, steps, kinds, advance=lambda share: report("Measuring", share))
    judged = Judged(held, steps, taps, kinds, found)
    judged.suspected = ladder.explained(judged)
    judged.ladder = judged.believed
    causes = None
    if not diagnose:
        judged.ladder = diagnosis.refuted(judged)
    else:
        causes = diagnosis.explain(judged, hypotheses, lambda share: report("Diagnosing", share))
    seconds = time.perf_counter() - start
    about = {**held.about, "candidate": opened.where, "remarks": list(opened.remarks)}
    return findings.report(judged, causes, {**about, "seconds": round(seconds, 2), "runs": RUNS})


def values(model: Model, steps: Steps) -> Callable[[str], HostArray]:
    """Tap -> the reference's own value; everything is computed when the first is asked for."""
    known: dict[str, HostArray] = {}

    def value(tap: str) -> HostArray:
        if not known:
            whole = Window(0, len(model.links) - 1, model.differentiates)
            wanted = steps.expected if model.differentiates else steps.shapes
            known.update(evaluated(model, None, Given({}, steps), whole, wanted))
        return known[tap]

    return value


def _with_image(opened: Mapping[str, HostArray], given: Mapping[str, HostArray], held: Reference) -> Any:
    """The candidate's own image is a tap like any other, where it brings one."""
    if "image" not in given or "image" in opened:
        return opened
    image, model = np.asarray(given["image"]), held.model
    if image.shape != model.image.shape:
        raise ConfigError(
            "input.image",
            found=f"shape {image.shape} in the candidate",
            expected=f"{model.image.shape}, as the reference has it",
            remedy="Give both the same images, preprocessed.",
        )
    if not np.isfinite(image).all():
        raise ConfigError(
            "input.image",
            found="values that are not finite in the candidate",
            expected="the pixels that it saw, preprocessed",
            remedy="Record it again.",
        )
    off = float(np.linalg.norm(image.astype(np.float64) - model.image))
    if not held.pictures and off > 2 * UNIT["bfloat16"] * float(np.linalg.norm(model.image)):
        raise ConfigError(
            "input.image",
            found="another image in the candidate",
            expected="the image of the reference, at most rounded",
            remedy='Compute both from the same image. To compare how it was preprocessed, name it "image".',
        )
    return With({"image": image}, opened)


class With(Mapping[str, HostArray]):
    """Two mappings as one, the first one's names first."""

    def __init__(self, first: Mapping[str, HostArray], second: Mapping[str, HostArray]) -> None:
        self._parts = (first, second)

    def __getitem__(self, name: str) -> HostArray:
        return self._parts[0][name] if name in self._parts[0] else self._parts[1][name]

    def __contains__(self, name: object) -> bool:
        return any(name in part for part in self._parts)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(itertools.chain(*self._parts)))

    def __len__(self) -> int:
        return len(set(self))


def _stated(precision: Any, taps: Iterable[str]) -> Formats:
    if precision not in LADDER:
        raise ConfigError(
            "precision",
            found=repr(precision),
            expected=f"one of {', '.join(LADDER)}",
            remedy="Name one of these.",
        )
    return Formats(precision, dict.fromkeys(taps, precision))
