"""Preprocessing: the facts that turn a picture into the array a model expects. `images/` applies them."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from vitref.config import pair
from vitref.errors import ConfigError

RESIZES = ("shortest", "squash")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Decode, resize, crop, normalise; Pillow decodes and resizes (its filters antialias).

    size           (H, W) in pixels of the result
    channels       of the result: 3 (RGB) or 1 (luminance)
    resize         "shortest": scale so that the image just covers `resize_to`, keeping its shape;
                   "squash": to exactly `resize_to`; then the centre (H, W) is cut out
    resize_to      (H, W) in pixels before the crop
    interpolation  Pillow's filter: "nearest", "bilinear", "bicubic" or "lanczos"
    mean, std      per channel: the result is (value / 255 - mean) / std

    Raises ConfigError when a field has the wrong type or value, or two fields contradict.
    """

    size: tuple[int, int]
    channels: int
    resize: str
    resize_to: tuple[int, int]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", pair("size", self.size, of="Preprocessing"))
        object.__setattr__(self, "resize_to", pair("resize_to", self.resize_to, of="Preprocessing"))
        if self.resize_to[0] < self.size[0] or self.resize_to[1] < self.size[1]:
            raise ConfigError(
                "Preprocessing.resize_to",
                found=f"{self.resize_to} for a result of {self.size}",
                expected="at least the size of the result, which is cut out of it",
                remedy="Give a larger resize_to= or a smaller size=; nothing is padded.",
            )
        if type(self.channels) is not int or self.channels not in (1, 3):
            raise _wrong("channels", self.channels, "1 (luminance) or 3 (RGB)")
        if not isinstance(self.resize, str) or self.resize not in RESIZES:
            raise _wrong("resize", self.resize, f"one of {', '.join(RESIZES)}")
        if not isinstance(self.interpolation, str) or self.interpolation not in INTERPOLATIONS:
            raise _wrong("interpolation", self.interpolation, f"one of {', '.join(INTERPOLATIONS)}")
        for name in ("mean", "std"):
            object.__setattr__(self, name, self._per_channel(name))
        if any(value <= 0 for value in self.std):
            raise _wrong("std", self.std, "numbers above 0")

    def _per_channel(self, name: str) -> tuple[float, ...]:
        value = getattr(self, name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = (value,) * self.channels
        if not isinstance(value, (tuple, list)) or len(value) != self.channels:
            raise _wrong(name, value, f"{self.channels} numbers, one per channel, or one for all")
        if not all(isinstance(v, (int, float)) and v is not True and v is not False for v in value):
            raise _wrong(name, value, "numbers")
        if not all(-1e30 < v < 1e30 for v in value):
            raise _wrong(name, value, "finite numbers")
        return tuple(float(v) for v in value)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as JSON stores them; `Preprocessing(**...)` accepts them again."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


FIELDS = frozenset(field.name for field in fields(Preprocessing))
"""The names of Preprocessing's fields."""


def _wrong(name: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"Preprocessing.{name}",
        found=repr(value),
        expected=expected,
        remedy=f"Give {name}= a value of this kind.",
    )
