"""Known mistakes of Vision Transformers, each once, as data: what is wrong, where it shows, and the plant.

    mistake = mistakes.find("softmax_over_queries")
    vitref.trace(weights, image, backend=mistakes.backend(mistake))

`FAMILIES` holds them by subject, `CATALOGUE` by name; `TOPICS` says what has gone wrong in
public. To add one is to add a row to the module of its subject (see `Mistake`); `vitref mistakes NAME` then
plants it and says which checks notice.
"""

from difflib import get_close_matches

from vitref.errors import ConfigError
from vitref.verify.mistakes import (
    attention,
    embedding,
    head,
    loading,
    mlp,
    normalisation,
    preprocessing,
    training,
    wiring,
)
from vitref.verify.mistakes.mistake import Case, Mistake, backend, plant
from vitref.verify.mistakes.topics import TOPICS

__all__ = ["CATALOGUE", "FAMILIES", "TOPICS", "Case", "Mistake", "backend", "find", "plant"]

FAMILIES: dict[str, tuple[Mistake, ...]] = {
    "preprocessing": preprocessing.MISTAKES,
    "loading": loading.MISTAKES,
    "embedding": embedding.MISTAKES,
    "normalisation": normalisation.MISTAKES,
    "attention": attention.MISTAKES,
    "mlp": mlp.MISTAKES,
    "wiring": wiring.MISTAKES,
    "head": head.MISTAKES,
    "training": training.MISTAKES,
}
"""Subject -> mistakes, from the picture to the loss."""

CATALOGUE = {mistake.name: mistake for family in FAMILIES.values() for mistake in family}
"""Name -> mistake."""


def find(name: str) -> Mistake:
    """The mistake of this name. Raises ConfigError when there is none."""
    if name not in CATALOGUE:
        close = _close(str(name))
        raise ConfigError(
            "vitref mistakes",
            found=f"the unknown name {name!r}",
            expected=f"one of {len(CATALOGUE)} names{', such as ' if close else ''}{', '.join(close)}",
            remedy="See them all with vitref mistakes --list.",
        )
    return CATALOGUE[name]


def _close(name: str) -> list[str]:
    """Names that are spelt alike, then names that share a word."""
    alike = get_close_matches(name, CATALOGUE, n=3)
    words = {word for word in name.lower().split("_") if len(word) > 2}
    sharing = [known for known in CATALOGUE if words & set(known.split("_"))]
    return list(dict.fromkeys([*alike, *sharing]))[:5]
