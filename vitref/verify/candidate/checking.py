"""What is wrong with a candidate's taps as a whole: their shapes, and taps that the reference lacks."""

from collections.abc import Iterable, Mapping

from vitref.config import Config
from vitref.errors import ConfigError, Error
from vitref.verify.candidate.names import COTANGENT, GRADIENT
from vitref.verify.candidate.stored import Stored

SHOWN = 5
"""Lines of one kind in an error; what goes beyond is counted."""

Shapes = Mapping[str, tuple[int, ...]]


def check_shapes(taps: Mapping[str, Stored], expected: Shapes, where: str) -> None:
    """Raise ConfigError when a tap has another shape than the reference's, saying what that looks like."""
    wrong = {tap: stored for tap, stored in taps.items() if stored.shape != expected[tap]}
    if not wrong:
        return
    looks = {tap: guess(tap, stored.shape, expected[tap]) for tap, stored in wrong.items()}
    mixed = {_images(tap, stored.shape) for tap, stored in taps.items()} - {None}
    kinds = set(looks.values())
    if kinds <= {"batch", "layout"} and "batch" in kinds and len(mixed) > 1:
        raise _mixed(wrong, taps, expected, where)
    if len(kinds) > 1 and (kinds & {"model", "layout"}) and len(wrong) > len(taps) / 2:
        kinds = {"model"}
    raise _misshapen(wrong, expected, where, next(iter(kinds)) if len(kinds) == 1 else "", len(taps))


def guess(tap: str, found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What a wrong shape looks like: "axis" (the batch axis is missing), "batch", "layout" or "model"."""
    if found == expected[1:] and not tap.endswith(GRADIENT):
        return "axis"
    if len(found) == len(expected) > 1 and found[1:] == expected[1:] and not tap.endswith(GRADIENT):
        return "batch"
    if sorted(n for n in found if n != 1) == sorted(n for n in expected if n != 1):
        return "layout"
    return "layout" if _size(found) == _size(expected) else "model"


def _size(shape: Iterable[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _images(tap: str, shape: tuple[int, ...]) -> int | None:
    return None if tap.endswith(GRADIENT) or len(shape) < 2 else shape[0]


_REMEDIES = {
    "axis": "Write the batch axis too, even for one image; or give a map that adds it: "
    '{"*": {"tap": "*", "reshape": "tap"}}.',
    "batch": "Give both sides the same images, or compare with the images of the candidate.",
    "layout": "This looks like another layout of the same numbers: say in a map how to reshape or transpose.",
    "model": "This looks like another model or image size: give the weights that it was made with.",
    "": "Correct the shapes, or say in a map how to reshape or transpose.",
}


def _misshapen(wrong: Mapping[str, Stored], expected: Shapes, where: str, kind: str, count: int) -> Error:
    lines = [
        f"{name}: {stored.shape}, where {tap} has {expected[tap]}"
        for tap, stored in wrong.items()
        for name in [stored.name]
    ]
    batch = ""
    if kind == "batch":
        tap, stored = next(iter(wrong.items()))
        batch = f", a batch of {stored.shape[0]} instead of {expected[tap][0]}"
    if kind == "axis":
        batch = ", all without a batch axis" if len(wrong) > 1 else ", without a batch axis"
    found = f"{len(wrong)} of {count} taps in another shape than the reference{batch}\n  " + "\n  ".join(
        listed(lines)
    )
    return ConfigError(where, found=found, expected="the shapes of the reference", remedy=_REMEDIES[kind])


def _mixed(wrong: Mapping[str, Stored], taps: Mapping[str, Stored], expected: Shapes, where: str) -> Error:
    first: dict[int, str] = {}
    for tap, stored in taps.items():
        images = _images(tap, stored.shape)
        if images is not None:
            first.setdefault(images, stored.name)
    sizes = ", ".join(f"{images} in {name}" for images, name in first.items())
    return ConfigError(
        where,
        found=f"taps of different numbers of images ({sizes})",
        expected="one batch for all taps",
        remedy="Record all taps in one pass, with the same images.",
    )


def check_foreign(foreign: Mapping[str, str], expected: Shapes, config: Config, where: str) -> None:
    """Raise ConfigError for names of taps that the reference does not have."""
    if not foreign:
        return
    backward = [name for name, tap in foreign.items() if _needs_backward(tap) and not _has_backward(expected)]
    if len(backward) == len(foreign):
        raise ConfigError(
            where,
            found=f"{len(backward)} cotangents, gradients or losses ({', '.join(listed(backward, 3))})",
            expected="taps of the forward pass, since the reference has no backward pass",
            remedy="Give labels= or cotangent= (--labels), the ones that the candidate was given.",
        )
    raise ConfigError(
        where,
        found=f"{len(foreign)} outputs that the reference lacks ({', '.join(listed(list(foreign), 3))})",
        expected=f"those of a model with {config.depth} blocks, "
        f"{'LayerScale' if config.layer_scale else 'no LayerScale'}, {config.classes} classes",
        remedy="Give the weights that the candidate was made with, or leave these out in a map: "
        f'{{"{next(iter(foreign))}": null}}.',
    )


def _needs_backward(tap: str) -> bool:
    return tap.endswith((COTANGENT, GRADIENT)) or tap == "loss"


def _has_backward(expected: Shapes) -> bool:
    return any(tap.endswith((COTANGENT, GRADIENT)) for tap in expected)


def listed(lines: list[str], most: int = SHOWN) -> list[str]:
    """The first few, and how many more."""
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more"]
