"""Preprocessing: the facts that turn a picture into the array a model expects. `images/` applies them."""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vitref import conventions, processors
from vitref.config import pair
from vitref.conventions import Fact
from vitref.errors import ConfigError
from vitref.json_files import StrPath, read_object

RESIZES = ("shortest", "squash")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "bilinear_tf")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Decode, resize, crop, normalise; Pillow decodes, and its own filters antialias.

    size           (H, W) in pixels of the result
    channels       of the result: 3 (RGB) or 1 (luminance)
    resize         "shortest": scale so that the image just covers `resize_to`, keeping its shape;
                   "squash": to exactly `resize_to`; then the centre (H, W) is cut out
    resize_to      (H, W) in pixels before the crop
    interpolation  Pillow's filter: "nearest", "bilinear", "bicubic" or "lanczos"; or "bilinear_tf", that
                   of tf.image.resize: without antialias, and the result is not rounded to 8 bits
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

    @classmethod
    def load(cls, path: StrPath) -> "Preprocessing":
        """What a library's config file says: preprocessor_config.json (transformers) or config.json (timm).

        path  the file, or its folder; of the two, preprocessor_config.json is taken there

        Raises ConfigError when there is no such file, or it says what is not supported.
        """
        name = _config_file(path)
        content, base = read_object(name), os.path.basename(name)
        hub = base == processors.PROCESSOR_FILE or not {"pretrained_cfg", "architecture"} & set(content)
        try:
            facts = processors.huggingface(content, base) if hub else _of_timm(content, base)
            channels = len(facts["mean"].value) if isinstance(facts["mean"].value, list) else 3
            return cls(**{"channels": channels, **{k: v.value for k, v in resolved(facts).items()}})
        except ConfigError as error:
            where = error.where if error.where.startswith(base) else f"{base}: {error.where}"
            where = os.path.join(os.path.dirname(name), where)
            raise ConfigError(
                where, found=error.found, expected=error.expected, remedy=error.remedy
            ) from None

    @classmethod
    def convention(cls, name: str, *, size: int | tuple[int, int], channels: int = 3) -> "Preprocessing":
        """As a library does it ("timm", "huggingface", "google"), for pictures of `size` (H, W) pixels.

        Raises ConfigError for an unknown name or a wrong size.
        """
        given = Fact(pair("size", size, of="Preprocessing"), "argument size")
        facts = resolved({**conventions.pixel_facts(name), "size": given})
        return cls(channels=channels, **{field: fact.value for field, fact in facts.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as JSON stores them; `Preprocessing(**...)` accepts them again."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


FIELDS = frozenset(field.name for field in fields(Preprocessing))
"""The names of Preprocessing's fields."""


def resolved(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """Fields alone, where `conventions.pixel_facts` gives a rule: crop_pct becomes resize_to.

    facts  with `size`

    Raises ConfigError for a size that is none.
    """
    fields = dict(facts)
    crop = fields.pop("crop_pct", None)
    if crop and "resize_to" not in fields:
        fields["resize_to"] = _resize_to(fields["size"].value, crop)
    return fields


def _resize_to(size: object, crop: Fact) -> Fact:
    """timm/data/transforms_factory.py: scale_size, rounded down on each axis."""
    edges = [math.floor(side / crop.value) for side in pair("size", size, of="Preprocessing")]
    return Fact(tuple(edges), f"size over crop_pct {crop.value} ({crop.source})")


def _config_file(path: StrPath) -> str:
    name = str(path)
    names = [os.path.join(name, base) for base in (processors.PROCESSOR_FILE, processors.CONFIG_FILE)]
    found = [file for file in names if os.path.lexists(file)] if os.path.isdir(name) else [name]
    if not found:
        raise ConfigError(
            name,
            found="a folder without either",
            expected=f"{processors.PROCESSOR_FILE} or timm's {processors.CONFIG_FILE}",
            remedy="Give the file itself, or Preprocessing.convention(name, size=).",
        )
    return found[0]


def _of_timm(content: Mapping[str, Any], where: str) -> dict[str, Fact]:
    pretrained, where = processors.pretrained_cfg(content, where)
    size = processors.input_size(pretrained, where) or processors.TIMM_INPUT_SIZE
    return {**processors.timm(pretrained, where), "size": size["image_size"], "channels": size["channels"]}


def _wrong(name: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"Preprocessing.{name}",
        found=repr(value),
        expected=expected,
        remedy=f"Give {name}= a value of this kind.",
    )
