"""What a mistake is, and how it is planted: in code, settings, weights or pixels."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from vitref import backends
from vitref.array import HostArray
from vitref.backends.interface import Backend
from vitref.config import Config
from vitref.errors import ConfigError, Error
from vitref.masks import Train
from vitref.preprocessing import Preprocessing
from vitref.verify.mistakes import edit
from vitref.weights import Weights

Tensors = dict[str, HostArray]


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """name        short, unique; as the command line takes it
    what        one sentence: what the wrong program does
    topic       the entry of `topics.TOPICS` that it belongs to; "" where it is known without a report
    evidence    public reports of it, owner/repository#number; () for a variant of one that has
                some, and where it is known without a report
    shows       where it shows first: a pattern (fnmatch) of the first tap that moves
    backward    True when the forward pass is right and a gradient is wrong

    It is planted in one of four ways:

    edits       component -> its changed lines, "as it is -> as it stands in the wrong program"; a
                mistake of the forward pass brings the backward pass that belongs to it
    config      Config -> another Config for the same tensors
    tensors     (canonical tensors, Config) -> those tensors that a wrong loader fills otherwise
    pixels      (pictures uint8 (N, H, W, C), Preprocessing) -> the array (N, C, H, W) that comes out

    equivalent  a proof that outputs and gradients are nevertheless the same; "" for all others
    """

    name: str
    what: str
    evidence: tuple[str, ...]
    shows: str
    topic: str = ""
    backward: bool = False
    edits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    config: Callable[[Config], Config] | None = None
    tensors: Callable[[Tensors, Config], Tensors] | None = None
    pixels: Callable[[HostArray, Preprocessing], HostArray] | None = None
    equivalent: str = ""

    @property
    def planted_in(self) -> str:
        """ "code", "settings", "weights" or "pixels"."""
        ways = {"code": self.edits, "settings": self.config, "weights": self.tensors, "pixels": self.pixels}
        return next(name for name, way in ways.items() if way)

    @property
    def lines(self) -> str:
        """The changed lines of code, as a difference of texts; "" for a mistake that is not one of code."""
        return "\n".join(edit.difference(name, edits) for name, edits in self.edits.items())


class Case(NamedTuple):
    """What is computed, and by what.

    image   a float64 array (N, C, H, W), or pictures uint8 (N, H, W, C)
    labels  for `loss`; None for a random cotangent of the final output
    train   of a training pass; None in evaluation
    """

    weights: Weights
    image: HostArray
    backend: Backend
    labels: HostArray | None = None
    loss: str = "cross_entropy"
    train: Train | None = None


def backend(mistake: Mistake, on: str | Backend = "numpy") -> Backend:
    """A backend with the wrong code in the place of the right one, and without other kernels.

    `vitref.forward`, `backward` and `trace` take it as their `backend`. For a mistake that is not one
    of code it is the backend `on`, without kernels. Raises BackendError for an unknown `on`,
    and ConfigError as `plant` does.
    """
    right = backends.get(on)
    with _row_of(mistake):
        kernels = {name: edit.kernel(name, edits) for name, edits in mistake.edits.items()}
    return replace(right, name=f"{right.name}, mistaken: {mistake.name}", kernels=kernels)


def plant(mistake: Mistake, case: Case) -> Case:
    """The case with the mistake in it.

    Raises CheckpointError when what a wrong loader makes, or wrong settings, do not fit these weights;
    and ConfigError when the mistake changes nothing that there is: a line that stands nowhere, a tensor
    that the model does not have.
    """
    weights, recipe = case.weights, case.weights.preprocessing
    if mistake.edits:
        return case._replace(backend=backend(mistake, case.backend))
    if mistake.config:
        with _row_of(mistake):
            config = mistake.config(weights.config)
        changed: Any = Weights(dict(weights), config, preprocessing=recipe)
        return case._replace(weights=changed)
    if mistake.tensors:
        with _row_of(mistake):
            tensors = mistake.tensors(dict(weights), weights.config)
            for name in tensors:
                weights[name]
        return case._replace(weights=weights.replace(tensors))
    if mistake.pixels and recipe is not None and case.image.dtype.kind == "u":
        with _row_of(mistake):
            return case._replace(image=mistake.pixels(case.image, recipe))
    return case


@contextmanager
def _row_of(mistake: Mistake) -> Iterator[None]:
    """An error here is one of the catalogue, and must not pass for a mistake that is noticed."""
    try:
        yield
    except (Error, ImportError, LookupError, SyntaxError, ValueError) as error:
        raise ConfigError(
            f"the mistake {mistake.name}",
            found=f"{type(error).__name__}: {error}",
            expected="a change of code, settings, tensors or pixels that there are",
            remedy="Correct its row in vitref/verify/mistakes.",
        ) from error
