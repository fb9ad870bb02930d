"""`vitref.compare`: is a candidate the same model, up to rounding; and if not, which steps are wrong.

Every tap is judged twice: from the candidate's own inputs, which finds every wrong step, and from the image
alone, which finds what drifts. No tolerance is asked for: noise is measured (see `vitref.verify.rule`).
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.errors import ConfigError
from vitref.verify import diagnose as diagnosis
from vitref.verify import ladder
from vitref.verify.candidate import files
from vitref.verify.candidate.opening import extras, open_candidate
from vitref.verify.evaluate import Evaluation, Model
from vitref.verify.examine import Examined, Formats, examine, formats
from vitref.verify.measure import Measured
from vitref.verify.mistakes import Mistake
from vitref.verify.precision import LADDER
from vitref.verify.reference import Reference, resolve
from vitref.verify.rule import RUNS, thresholds
from vitref.verify.steps import Steps, bare, table
from vitref.verify.verdicts import Guilty, Picture, Report, TapVerdict

Progress = Callable[[str, float], None]
"""Told what is being done, and which share of it is."""

FEW = 3
"""So many outputs of several steps each tell a lower precision from a mistake of its size."""

FUSED = (".attn.q:dy", ".attn.k:dy", ".attn.v:dy", ".attn.qkv:dy")
"""Ends of the cotangents that a fused kernel of attention returns."""

LARGEST_PICTURE = 256
"""Rows and columns of an attention map that a report holds."""


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
    _check_ends(model, dump.arrays)
    expected = steps.expected if model.differentiates else steps.shapes
    opened = open_candidate(dump, expected=expected, config=model.config, map=map, reference=values(model))
    taps = _with_image(opened, given, model)
    _check_ends(model, taps)
    report("Reading", 0.0)
    kinds = formats(taps, steps) if precision is None else _stated(precision, taps)
    found = examine(held.model, taps, steps, kinds, advance=lambda share: report("Measuring", share))
    judged = Judged(held, steps, taps, kinds, found)
    judged.suspected = ladder.explained(judged)
    judged.ladder = _believed(judged)
    causes = None
    if not diagnose:
        judged.ladder = diagnosis.refuted(judged)
    else:
        causes = diagnosis.explain(judged, hypotheses, lambda share: report("Diagnosing", share))
    seconds = time.perf_counter() - start
    about = {**held.about, "candidate": opened.where, "remarks": list(opened.remarks)}
    return _report(judged, causes, {**about, "seconds": round(seconds, 2), "runs": RUNS})


@dataclass(eq=False)
class Judged:
    """Everything that is measured, and what follows from it tap by tap.

    ladder     wrong tap -> the lower precision that explains it, in words
    suspected  the same, also where one output is too little to believe it
    """

    held: Reference
    steps: Steps
    taps: Mapping[str, HostArray]
    formats: Formats
    found: Examined
    ladder: dict[str, str] = field(default_factory=dict)
    suspected: dict[str, str] = field(default_factory=dict)

    def limits(self, tap: str) -> tuple[float, float]:
        """The thresholds of a tap: from the candidate's own inputs, and from end to end."""
        limits, own = thresholds(self.formats.precision), thresholds(self.formats.of(tap))
        backward = tap.endswith((":dy", ":grad"))
        fused = self.formats.fused and tap.endswith(FUSED)
        return own.fused if fused else own.local, limits.backward if backward else limits.forward

    def ratios(self, tap: str) -> tuple[float, float]:
        return self.found.local[tap].ratio().larger, self.found.end_to_end[tap].ratio().larger

    @cached_property
    def wrong(self) -> list[str]:
        """Taps that are wrong from the candidate's own inputs; where none is, the first that drifts."""
        local = [tap for tap in self.found.local if self.ratios(tap)[0] > self.limits(tap)[0]]
        drifting = [tap for tap in self.found.local if self.ratios(tap)[1] > self.limits(tap)[1]]
        return local or drifting[:1]

    @property
    def bugs(self) -> list[str]:
        """Wrong taps that no lower precision explains."""
        return [tap for tap in self.wrong if tap not in self.ladder]

    def span(self, tap: str) -> tuple[str, ...]:
        """The steps that may be to blame for it."""
        given = [name for name in self.taps if name != tap]
        drifts = self.ratios(tap)[0] <= self.limits(tap)[0]
        return tuple(step.path for step in self.steps.span(tap, () if drifts else given))


def values(model: Model) -> Callable[[str], HostArray]:
    """Tap -> the reference's own value; everything is computed when the first is asked for."""
    known: dict[str, HostArray] = {}

    def value(tap: str) -> HostArray:
        if not known:
            evaluation, inputs, dy = Evaluation(model), [], None
            x: Any = model.image
            for place in range(len(model.links)):
                inputs.append(x)
                done = evaluation.forward(place, x, {})
                x = done.value
                known.update(done.taps)
            for place in reversed(range(len(model.links))) if model.differentiates else ():
                done = evaluation.backward(place, inputs[place], dy, {})
                dy = done.value
                known.update({name: array for name, array in done.taps.items() if name not in known})
        return known[tap]

    return value


def _with_image(opened: Mapping[str, HostArray], given: Mapping[str, HostArray], model: Model) -> Any:
    """The candidate's own image is a tap like any other, where it brings one."""
    if "image" not in given or "image" in opened:
        return opened
    image = np.asarray(given["image"])
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


def _believed(judged: Judged) -> dict[str, str]:
    """The lower precisions that are more than a size that fits.

    One step by itself is judged by how its error looks. Over several steps any error may have the size of
    a lower precision's: it is one when all such outputs are off so, and there are a few.
    """
    several = [tap for tap in judged.taps if tap in judged.found.local and len(judged.span(tap)) > 1]
    several = [tap for tap in several if not tap.endswith((":dy", ":grad")) and tap != "loss"]
    words = {judged.suspected.get(tap, "") for tap in several}
    everywhere = len(several) >= FEW and len(words) == 1 and "" not in words
    return {tap: lower for tap, lower in judged.suspected.items() if len(judged.span(tap)) == 1 or everywhere}


def _check_ends(model: Model, taps: Iterable[str]) -> None:
    first = next((tap for tap in taps if tap.endswith((":dy", ":grad")) or tap == "loss"), None)
    if first is not None and not model.differentiates:
        raise ConfigError(
            "labels, cotangent",
            found=f"{first} in the candidate, and a reference without a backward pass",
            expected="the labels of the loss, or the cotangent that the backward pass began with",
            remedy="Give labels= (--labels) or cotangent=, or a trace that was recorded with one of them.",
        )


def _report(judged: Judged, causes: Any, about: Mapping[str, Any]) -> Report:
    taps = tuple(_verdict(judged, tap, causes) for tap in judged.found.local)
    guilty = tuple(_guilty(judged))
    named = {verdict.verdict for verdict in taps}
    outcome = "differ" if guilty else "agree"
    if outcome == "agree" and "lower precision" in named:
        outcome = "agree in lower precision"
    if outcome == "agree" and "systematic" in named:
        outcome = "differ"
    return Report(
        outcome,
        judged.formats.precision,
        taps,
        guilty,
        causes,
        tuple(step.path for step in judged.steps.steps if not _is_given(step.outputs, judged.taps)),
        tuple(_pictures(judged)),
        about,
    )


def _is_given(outputs: tuple[str, ...], taps: Mapping[str, HostArray]) -> bool:
    return any(name in taps for name in outputs)


def _verdict(judged: Judged, tap: str, causes: Any) -> TapVerdict:
    found, ratio = judged.found.local[tap], judged.found.local[tap].ratio()
    local, end_to_end = judged.ratios(tap)
    limit, limit_end_to_end = judged.limits(tap)
    error, noise = found.relative
    kind, why = _kind(judged, tap, found, causes)
    span = judged.span(tap) if kind in ("bug", "lower precision") else ()
    return TapVerdict(
        tap=tap,
        step=judged.steps.makes[bare(tap)].path,
        verdict=kind,
        format=found.stored,
        local=local,
        end_to_end=end_to_end,
        threshold=limit,
        threshold_end_to_end=limit_end_to_end,
        error=error,
        noise=noise,
        shape=found.shape,
        token=ratio.worst,
        span=span,
        why=why,
        worst=found.worst if kind == "bug" else (),
    )


def _kind(judged: Judged, tap: str, found: Measured, causes: Any) -> tuple[str, str]:
    """The verdict on a tap, and the reason where there is one."""
    if tap in judged.wrong:
        lower = judged.ladder.get(tap)
        if lower:
            return "lower precision", lower
        alike = judged.suspected.get(tap)
        return "bug", f"as far off as {alike} would be, which this output alone cannot tell" if alike else ""
    systematic = diagnosis.below_noise(causes, tap)
    if systematic:
        return "systematic", systematic
    if judged.ratios(tap)[1] > judged.limits(tap)[1]:
        return "inherited", ""
    return ("exact" if found.exact else "rounding"), ""


def _guilty(judged: Judged) -> Iterator[Guilty]:
    """Wrong taps by the step that is to blame: a forward pass that is wrong has a wrong backward pass too."""
    forward: dict[tuple[str, ...], list[str]] = {}
    backward: list[tuple[tuple[str, ...], list[str]]] = []
    for tap in judged.bugs:
        span = judged.span(tap)
        if not tap.endswith((":dy", ":grad")):
            forward.setdefault(span, []).append(tap)
            continue
        owner = next((known for known in forward if set(known) & set(span)), None)
        if owner is not None:
            forward[owner].append(tap)
            continue
        for number, (known, taps) in enumerate(backward):
            common = tuple(step for step in known if step in span)
            if common:
                backward[number] = (common, [*taps, tap])
                break
        else:
            backward.append((span, [tap]))
    for span, taps in [*forward.items(), *backward]:
        yield _group(judged, span, taps)


def _group(judged: Judged, span: tuple[str, ...], taps: list[str]) -> Guilty:
    ways = {"backward" if tap.endswith((":dy", ":grad")) else "forward" for tap in taps}
    ratio = {tap: max(judged.ratios(tap)) for tap in taps}
    worst = sorted(taps, key=lambda tap: -ratio[tap])
    passes = "both" if len(ways) == 2 else ways.pop()
    return Guilty(span[-1], span, passes, tuple(worst), ratio[worst[0]])


def _pictures(judged: Judged) -> Iterator[Picture]:
    """The attention map that differs most, of the image and head where it does."""
    maps = [tap for tap in judged.bugs if tap.endswith((".softmax", ".scores"))]
    for tap in maps[:1]:
        candidate = np.asarray(judged.taps[tap], np.float64)
        reference = ladder.reference_value(judged, tap)
        off = np.abs(candidate - reference).reshape(*candidate.shape[:2], -1).max(axis=-1)
        image, head = np.unravel_index(int(np.argmax(off)), off.shape)
        cut = np.s_[image, head, :LARGEST_PICTURE, :LARGEST_PICTURE]
        yield Picture(f"{tap}, image {image}, head {head}", candidate[cut], reference[cut])
