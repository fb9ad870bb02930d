"""Hypotheses: known mistakes put into the reference, one or several, each with its constant."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import Error
from vitref.graph.mlp import FORMS
from vitref.verify.evaluate import Local, Model
from vitref.verify.mistakes import CATALOGUE, Mistake, edit
from vitref.verify.numerics import primitives
from vitref.verify.reference import Reference

SCAN = 5
"""How many values of a free constant are tried first."""

FACTORS = (0.5, 0.7, 0.85, 1.15, 1.4, 2.0)
"""Values of a free factor that are tried as well: most wrong ones are not far from 1."""

MISFITS = (Error, LookupError, ValueError, TypeError, ArithmeticError, SyntaxError, RuntimeError)
"""What a mistake raises that has no place in a model, or does not fit the candidate's shapes."""

COMPOSITES = {
    "block": frozenset({"block", "attention", "attention_core", "mlp"}),
    "embed": frozenset({"embed"}),
    "head": frozenset({"head", "pre_logits"}),
}
"""Link -> the composites inside it."""


class Hypothesis(NamedTuple):
    """A mistake, the value of its constant where it has one, and the step that alone has it; "" for all."""

    mistake: Mistake
    value: float | None = None
    at: str = ""

    @property
    def name(self) -> str:
        return self.mistake.name


Combination = tuple[Hypothesis, ...]


@dataclass(frozen=True, eq=False)
class Ground:
    """What hypotheses are put into.

    model   the reference, with the causes that were found already
    held    where it comes from: pictures and their preprocessing
    """

    model: Model
    held: Reference

    def changed(self, combination: Iterable[Hypothesis]) -> Model | None:
        """The model with these mistakes in it; None where one of them has no place in it."""
        model: Model | None = self.model
        for hypothesis in combination:
            model = None if model is None else _with(hypothesis, model, self.held)
        return model


def every(mistakes: Iterable[Mistake] | None = None) -> list[Mistake]:
    """The mistakes to be tried: these, or the whole catalogue."""
    return list(CATALOGUE.values() if mistakes is None else mistakes)


def scanned(mistake: Mistake) -> list[Hypothesis]:
    """The hypothesis; one with a free constant at several values of it."""
    if mistake.free is None:
        return [Hypothesis(mistake)]
    low, high, typical = mistake.free
    values = [*np.geomspace(low, high, SCAN + 2)[1:-1].tolist(), typical]
    if low < 1 < high:
        values += [value for value in FACTORS if low < value < high]
    return [Hypothesis(mistake, float(value)) for value in dict.fromkeys(values)]


def _with(hypothesis: Hypothesis, model: Model, held: Reference) -> Model | None:
    mistake, value, at = hypothesis
    if not all(getattr(model.config, field) for field in mistake.needs) or "supervised" in mistake.edits:
        return None
    try:
        with np.errstate(all="ignore"):
            if at:
                return _changed_at(at, mistake, value, model)
            return _changed(mistake, value, model, held)
    except MISFITS:
        return None


def _changed(mistake: Mistake, value: float | None, model: Model, held: Reference) -> Model | None:
    constant = mistake.constant(value)
    if mistake.edits:
        edits = dict(model.edits)
        for name, lines in mistake.edits_with(value).items():
            edits[name] = (*edits.get(name, ()), *lines)
            edit.kernel(name, edits[name])
        return model.changed(edits=edits)
    if mistake.config:
        config = mistake.config(model.config, *constant)
        return None if config == model.config else model.changed(config=config)
    if mistake.tensors:
        tensors = mistake.tensors(dict(model.parameters), model.config, *constant)
        if any(np.shape(array) != np.shape(model.parameters[name]) for name, array in tensors.items()):
            return None
        return model.changed(parameters={**model.parameters, **tensors}) if tensors else None
    image = _image(mistake, constant, model, held)
    return None if image is None else model.changed(image=image)


def _changed_at(at: str, mistake: Mistake, value: float | None, model: Model) -> Model | None:
    """The mistake in one step. Only those of primitives and of tensors can be in one step alone."""
    constant = mistake.constant(value)
    local = None
    if mistake.edits and mistake.edits.keys() <= primitives().keys():
        local = Local(at, mistake.edits_with(value), {})
    elif mistake.config:
        local = _setting(at, model.config, mistake.config(model.config, *constant))
    elif mistake.tensors:
        tensors = mistake.tensors(dict(model.parameters), model.config, *constant)
        own = {name: array for name, array in tensors.items() if name == at or name.startswith(f"{at}.")}
        return model.changed(parameters={**model.parameters, **own}) if own else None
    return None if local is None else model.changed(local=(*model.local, local))


def _setting(at: str, right: Config, wrong: Config) -> Local | None:
    """A setting that steps take one by one."""
    if wrong.eps != right.eps:
        return Local(at, {}, {"layer_norm": {"eps": wrong.eps}})
    if wrong.activation != right.activation:
        return Local(at, {}, {"gelu": {"form": FORMS[wrong.activation]}})
    return None


def _image(mistake: Mistake, constant: tuple[float, ...], model: Model, held: Reference) -> HostArray | None:
    recipe = held.weights.preprocessing
    assert mistake.pixels is not None
    if held.pictures and recipe is not None and model.image is held.model.image:
        made = [mistake.pixels(picture, recipe, *constant) for picture in held.pictures]
        image = np.concat(made) if len({a.shape[1:] for a in made}) == 1 else None
    elif mistake.on_arrays:
        image = mistake.pixels(model.image, recipe, *constant)
    else:
        return None
    if image is None or image.shape != model.image.shape or image is model.image:
        return None
    return np.asarray(image, np.float64)


def touched(model: Model, other: Model, place: int, components: frozenset[str]) -> bool:
    """Whether a link of `other` may compute something else than that of `model`, from the same input.

    `components` are those of the link.
    """
    link, changed = model.links[place], other.links[place]
    if link.part is not changed.part or link.static != changed.static:
        return True
    starts = [local.start for local in other.local if local not in model.local]
    if any(_is_in(start, link.name) for start in starts):
        return True
    names = {name for name in {*model.edits, *other.edits} if model.edits.get(name) != other.edits.get(name)}
    if names & components:
        return True
    if model.parameters is other.parameters:
        return False
    prefix = f"{link.name}." if link.name else ""
    pairs = (
        (name, array)
        for name, array in model.parameters.items()
        if (name.startswith(prefix) if prefix else not name.startswith("blocks."))
    )
    return any(other.parameters[name] is not array for name, array in pairs)


def _is_in(start: str, link: str) -> bool:
    return f"{start}.".startswith(f"{link}.") if link else not start.startswith("blocks.")
