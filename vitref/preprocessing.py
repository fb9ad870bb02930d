"""Preprocessing: the facts that turn a picture into the array a model expects. `images/` applies them."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
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
        """What a file says of the pixels, as `vitref.load` would have it for that folder.

        path  a folder, or one of its files: weights that vitref wrote, preprocessor_config.json or
              config.json of transformers, config.json of timm; in a folder, what vitref recorded comes
              first, and a model of transformers without processor file has its library's defaults

        Raises ConfigError when there is no such file, or it says what is not supported, and
        CheckpointError for damaged weights.
        """
        name = str(path)
        if not os.path.lexists(name):
            raise ConfigError(
                name, found="no such file or folder", expected="one of the two", remedy="Correct the path."
            )
        recorded = [recipe for read in RECORDS if (recipe := read(name)) is not None]
        return recorded[0] if recorded else _from_files(cls, name)

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


RECORDS: list[Callable[[str], Preprocessing | None]] = []
"""Readers of the recipe that weights carry themselves: path of a file or folder -> the recipe, if it has
one. `vitref.weights`, which is above this module, adds its own."""

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


def crop_pct(recipe: Preprocessing, stated: float | None) -> float | None:
    """The crop over the resized edge by which `recipe` was made: `stated` if it is that, 1 without crop,
    None where it is not known."""
    for crop in (1.0, stated):
        if crop and _edges(recipe.size, crop) == recipe.resize_to:
            return crop
    return None


def rescaled(recipe: Preprocessing, size: tuple[int, int], crop: float) -> Preprocessing:
    """The recipe for pictures of another size, (H, W), by the same crop_pct."""
    return replace(recipe, size=size, resize_to=_edges(size, crop))


def _resize_to(size: object, crop: Fact) -> Fact:
    edges = _edges(pair("size", size, of="Preprocessing"), crop.value)
    return Fact(edges, f"size over crop_pct {crop.value} ({crop.source})")


def _edges(size: tuple[int, int], crop: float) -> tuple[int, int]:
    """timm/data/transforms_factory.py: scale_size, rounded down on each axis."""
    return math.floor(size[0] / crop), math.floor(size[1] / crop)


def _from_files(kind: type[Preprocessing], name: str) -> Preprocessing:
    """From config files: one, or those of a folder."""
    folder, bases = os.path.split(name)[0], [os.path.basename(name)]
    if os.path.isdir(name):
        folder, bases = name, [processors.CONFIG_FILE, processors.PROCESSOR_FILE]
        bases = [base for base in bases if os.path.lexists(os.path.join(name, base))]
    _require_config(name, bases)
    contents = {base: read_object(os.path.join(folder, base)) for base in bases}
    try:
        facts = resolved(_facts(contents))
        mean = facts["mean"].value
        channels = len(mean) if isinstance(mean, list) else processors.HF_CHANNELS
        return kind(**{"channels": channels, **{field: fact.value for field, fact in facts.items()}})
    except ConfigError as error:
        where = error.where if error.where.startswith(tuple(bases)) else f"{bases[-1]}: {error.where}"
        where = os.path.join(folder, where)
        raise ConfigError(where, found=error.found, expected=error.expected, remedy=error.remedy) from None


def _require_config(name: str, bases: list[str]) -> None:
    weights = [base for base in bases if base.lower().endswith((".safetensors", ".npz"))]
    if not bases or weights:
        raise ConfigError(
            name,
            found="weights that vitref did not write" if weights else "a folder without either",
            expected=f"{processors.PROCESSOR_FILE} or {processors.CONFIG_FILE}",
            remedy="Give the config file itself, or Preprocessing.convention(name, size=).",
        )


def _facts(contents: Mapping[str, Mapping[str, Any]]) -> dict[str, Fact]:
    """Of one config file, or of both that transformers writes."""
    models = {base: c for base, c in contents.items() if base == processors.CONFIG_FILE or "model_type" in c}
    timm = [base for base, content in contents.items() if _is_timms(base, content)]
    if timm and len(contents) > 1:
        raise ConfigError(
            processors.CONFIG_FILE,
            found=f"timm's, and transformers' {processors.PROCESSOR_FILE} beside it",
            expected="the files of one library",
            remedy="Give the one that applies, not the folder.",
        )
    if timm:
        return _of_timm(contents[timm[0]], timm[0])
    stated: dict[str, Fact] = {}
    for base, content in models.items():
        stated |= processors.huggingface_model(content, base)
    others = [base for base in contents if base not in models]
    if not others:
        return {**processors.huggingface({}, ""), **stated}
    found = processors.huggingface(contents[others[0]], others[0])
    for base, content in models.items():
        _require_one_size(found["size"], content, base)
    return {**stated, **found} if "num_channels" in next(iter(models.values()), {}) else found


def _is_timms(base: str, content: Mapping[str, Any]) -> bool:
    return base != processors.PROCESSOR_FILE and not {"pretrained_cfg", "architecture"}.isdisjoint(content)


def _require_one_size(found: Fact, content: Mapping[str, Any], base: str) -> None:
    """The processor's size is the model's, where the model's file says one."""
    stated = content.get("image_size")
    if stated is not None and pair("image_size", stated) != pair("size", found.value, of="Preprocessing"):
        raise ConfigError(
            found.source,
            found=f"pictures of {found.value}",
            expected=f"{stated!r}, as {base}: image_size",
            remedy="Correct the one that is wrong, or give the processor's file itself.",
        )


def _of_timm(content: Mapping[str, Any], where: str) -> dict[str, Fact]:
    """The model's own arguments come before those of its pretraining."""
    model = content.get("model_args") or {}
    pretrained, place = processors.pretrained_cfg(content, where)
    size = {**processors.TIMM_INPUT_SIZE, **processors.input_size(pretrained, place)}
    for name, field in (("img_size", "image_size"), ("in_chans", "channels")):
        if isinstance(model, dict) and model.get(name) is not None:
            size[field] = Fact(model[name], f"{where}: model_args.{name}")
    return {**processors.timm(pretrained, place), "size": size["image_size"], "channels": size["channels"]}


def _wrong(name: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"Preprocessing.{name}",
        found=repr(value),
        expected=expected,
        remedy=f"Give {name}= a value of this kind.",
    )
