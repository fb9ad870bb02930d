"""Known mistakes of Vision Transformers, each once, as data: what is wrong, where it shows, and the plant.

    mistake = mistakes.find("softmax_over_queries")
    vitref.trace(weights, image, backend=mistakes.backend(mistake))

`FAMILIES` holds them by subject, `CATALOGUE` by name; `TOPICS` says what has gone wrong in public. They are
planted one at a time to prove that vitref's own checks notice (`vitref mistakes`), and are the hypotheses by
which a difference is explained. To add one is to add a row to the module of its subject (see `Mistake`, and
CONTRIBUTING.md).
"""

from difflib import get_close_matches

from vitref.errors import ConfigError
from vitref.verify.mistakes import (
    activation_gradients,
    attention,
    attention_gradients,
    colours,
    constants,
    embedding_gradients,
    flow_gradients,
    head,
    heads,
    layer_gradients,
    layouts,
    loading,
    missing,
    mlp,
    normalisation,
    operands,
    patches,
    positions,
    preprocessing,
    resizing,
    training,
    wiring,
)
from vitref.verify.mistakes.mistake import Free, Mistake
from vitref.verify.mistakes.planting import Case, backend, components, plant, touches
from vitref.verify.mistakes.topics import TOPICS

__all__ = [
    "CATALOGUE",
    "FAMILIES",
    "TOPICS",
    "Case",
    "Free",
    "Mistake",
    "backend",
    "components",
    "find",
    "plant",
    "touches",
]

FAMILIES: dict[str, tuple[Mistake, ...]] = {
    "preprocessing": preprocessing.MISTAKES,
    "colours": colours.MISTAKES,
    "missing": missing.MISTAKES,
    "loading": loading.MISTAKES,
    "layouts": layouts.MISTAKES,
    "patches": patches.MISTAKES,
    "positions": positions.MISTAKES,
    "resizing": resizing.MISTAKES,
    "normalisation": normalisation.MISTAKES,
    "attention": attention.MISTAKES,
    "operands": operands.MISTAKES,
    "heads": heads.MISTAKES,
    "mlp": mlp.MISTAKES,
    "wiring": wiring.MISTAKES,
    "head": head.MISTAKES,
    "training": training.MISTAKES,
    "gradients of the embedding": embedding_gradients.MISTAKES,
    "gradients of attention": attention_gradients.MISTAKES,
    "gradients of layers": layer_gradients.MISTAKES,
    "gradients of activations": activation_gradients.MISTAKES,
    "gradients of sums and losses": flow_gradients.MISTAKES,
    "constants": constants.MISTAKES,
}
"""Subject -> mistakes, from the picture to the loss, then of the backward pass; those with a free constant
are the last."""

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
    """Names that are spelt alike, then names that share words, most words first."""
    alike = get_close_matches(name, CATALOGUE, n=3)
    words = {word for word in name.lower().split("_") if len(word) > 2}
    shared = {known: len(words & set(known.split("_"))) for known in CATALOGUE}
    sharing = sorted((known for known in CATALOGUE if shared[known]), key=lambda known: -shared[known])
    return list(dict.fromkeys([*alike, *sharing]))[:5]
