"""Which checks notice a planted mistake: proof that the checks prove something.

None of these checks knows the right code: each holds the mistaken model against something else.

    suite.CHECK  a property of `vitref.testing.suite` does not hold for the changed component
    suite        the changed component cannot take all the shapes that the suite draws
    outputs      the outputs are not those of a second forward pass, written otherwise (`verify.oracle`)
    gradients    the gradients are not the derivatives of the outputs, by complex step
    keys         a parameter has no gradient, or one of another shape
    order        a step is undone out of order or left over
    refused      names or shapes do not fit, which is an error
    tensors      the loaded tensors are not, bit for bit, those that were stored
    pixels       the array differs by more than one grey level from resampling by matrices

How far each tap moves from its right value is reported too; that alone counts for nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.errors import CheckpointError
from vitref.testing import adjoint_error, tolerance
from vitref.testing.tolerance import ROUNDING
from vitref.verify import oracle, passes, pictures, planted_suite, probes
from vitref.verify.mistakes import Case, Mistake, plant

AMPLIFICATION = 32
"""A LayerNorm divides the rounding of earlier layers by the deviation of its row, which may be small."""


class Signature(NamedTuple):
    """What a mistake does to one model, in multiples of half of float64's machine epsilon.

    first      the first tap that moves by more than rounding can explain
    output     how far the final output moves
    moved      every tap that moves -> how far
    """

    first: str
    output: float
    moved: Mapping[str, float]

    @property
    def error(self) -> float:
        """How far the final output moves, as a relative error."""
        return self.output * ROUNDING["float64"]


@dataclass(frozen=True)
class Verdict:
    """mistake
    noticed      by these checks
    signatures   model of `probes` -> what the mistake does to it, where it does anything
    errors       model -> the error that it ends in
    is_equivalent  whether every final output and gradient stays the same, wherever anything changes
    """

    mistake: Mistake
    noticed: tuple[str, ...]
    signatures: Mapping[str, Signature] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    is_equivalent: bool = False

    @property
    def strongest(self) -> str:
        """The model whose output moves most, or whose taps do where only gradients move; "" for none."""
        size = {name: (found.output, len(found.moved)) for name, found in self.signatures.items()}
        return max(size, key=lambda name: size[name], default="")

    @property
    def passed(self) -> bool:
        """Noticed, and changes a result; or said to be equivalent, and so it is."""
        if self.mistake.equivalent:
            return self.is_equivalent
        return bool(self.noticed) and not self.is_equivalent


def judge(mistake: Mistake, *, properties: bool = True) -> Verdict:
    """Plant the mistake in every model of `probes`; with `properties`, in the property suite too.

    Raises ConfigError for a mistake that cannot be planted at all (see `mistakes.plant`).
    """
    noticed: set[str] = set()
    signatures: dict[str, Signature] = {}
    errors: dict[str, str] = {}
    for name, right in _cases().items():
        try:
            case, mistaken = attempt(mistake, right)
        except Ended as end:
            noticed.add(end.check)
            errors[name] = str(end)
            continue
        if case is right:
            continue
        found, signature = examine(case, name, mistaken)
        noticed |= found
        if signature.moved:
            signatures[name] = signature
    noticed |= planted_suite.broken(mistake) if properties else set()
    equivalent = bool(signatures) and all(_same_results(signature) for signature in signatures.values())
    return Verdict(mistake, tuple(sorted(noticed)), signatures, errors, equivalent)


class Ended(Exception):
    """A mistaken model ended in an error, which is how `check` notices."""

    def __init__(self, check: str, error: Exception) -> None:
        super().__init__(str(error))
        self.check = check


def attempt(mistake: Mistake, right: Case) -> tuple[Case, dict[str, HostArray]]:
    """The case with the mistake in it, and every tap of its pass; the very case that was given, and nothing,
    where the mistake does not apply. Raises Ended."""
    try:
        case = plant(mistake, right)
    except CheckpointError as error:
        raise Ended("refused", error) from error
    if case is right:
        return case, {}
    try:
        with np.errstate(all="ignore"):
            return case, passes.recorded(case)
    except (KeyError, ValueError) as error:
        raise Ended("refused", error) from error
    except RuntimeError as error:
        raise Ended("order", error) from error


def examine(case: Case, name: str, mistaken: Mapping[str, HostArray]) -> tuple[set[str], Signature]:
    """What is noticed of a case that should be the model `name` of `probes`, and what moves in it.

    `mistaken` is every tap of its pass.
    """
    right = _cases()[name]
    with np.errstate(all="ignore"):
        checks = {
            "outputs": _outputs_hold(mistaken, name),
            "gradients": _gradients_hold(case, mistaken),
            "keys": _keys_hold(case, mistaken),
            "tensors": all(np.array_equal(case.weights[name], right.weights[name]) for name in right.weights),
            "pixels": right.image.dtype.kind != "u" or pictures.holds(passes.arrays(case)["image"], right),
        }
    unit, bound = ROUNDING["float64"], _bound(right)
    differences = passes.differences(mistaken, _recorded(name))
    moved = {tap: error / unit for tap, error in differences.items() if not error <= bound}
    signature = Signature(next(iter(moved), ""), differences[passes.final(right)] / unit, moved)
    return {name for name, holds in checks.items() if not holds}, signature


def _outputs_hold(mistaken: Mapping[str, HostArray], name: str) -> bool:
    expected = _expected(name)
    found = {tap: mistaken[tap] for tap in expected if tap in mistaken}
    return max(passes.differences(found, expected).values()) <= _bound(_cases()[name])


def _gradients_hold(case: Case, mistaken: Mapping[str, HostArray]) -> bool:
    point, along = passes.direction(case)
    found = {name: mistaken.get("image:dy" if name == "image" else f"{name}:grad") for name in point}
    if any(gradient is None or gradient.shape != point[name].shape for name, gradient in found.items()):
        return False
    output = passes.final(case)

    def moving(arrays: Mapping[str, HostArray]) -> HostArray:
        run, _ = passes.forward(case, arrays, keep=False, record=frozenset([output]))
        return np.asarray(run.taps[output])

    dy = passes.cotangent(mistaken[output].shape)
    return adjoint_error(moving, point, along, dy, found) <= _bound(case)


def _keys_hold(case: Case, mistaken: Mapping[str, HostArray]) -> bool:
    shapes = {f"{name}:grad": shape for name, shape in case.weights.config.parameter_shapes().items()}
    return shapes == {name: array.shape for name, array in mistaken.items() if name.endswith(":grad")}


def _same_results(signature: Signature) -> bool:
    """Whether no final output and no gradient of a parameter or of the image moves."""
    results = ("logits", "head_input", "loss", "image:dy")
    return not any(tap in results or tap.endswith(":grad") for tap in signature.moved)


def _bound(case: Case) -> float:
    """What rounding can explain in a pass: as if all arrays entered one sum, times AMPLIFICATION."""
    return AMPLIFICATION * tolerance("float64", sum(array.size for array in passes.arrays(case).values()))


@cache
def _cases() -> dict[str, Case]:
    return probes.cases()


@cache
def _recorded(name: str) -> dict[str, HostArray]:
    """Every tap of a right model."""
    return passes.recorded(_cases()[name])


@cache
def _expected(name: str) -> dict[str, HostArray]:
    """What the oracle says of a right model."""
    right = _cases()[name]
    given = passes.arrays(right)
    expected = oracle.forward(right.weights.config, given, given["image"], right.train)
    if right.labels is not None:
        expected["loss"] = oracle.loss(expected["logits"], right.labels, right.loss)
    return expected
