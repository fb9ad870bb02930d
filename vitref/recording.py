"""Recording: what `vitref.trace` returns, and the file it writes and is read from."""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import CheckpointError, ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights import Source, Weights
from vitref.weights.files import StrPath, path_text, save_tensors
from vitref.weights.mapped import map_tensors

FORMAT = "vitref trace 1"

_NAME = FORMAT.rstrip("0123456789")
_INPUT, _WEIGHT = "input.", "weight."


class Recording(Mapping[str, HostArray]):
    """Taps of one pass: an ordered mapping from tap to NumPy array, and what made them.

    Keys are paths ("blocks.0.attn.softmax"), then cotangents ("blocks.0.attn.softmax:dy"), both in the
    order in which they were computed, then parameter gradients ("blocks.0.attn.qkv.weight:grad") in
    the order of the weights. The arrays are read-only: taps may share memory ("blocks.0" is
    "blocks.0.add2"; "attn.q" is a view of "attn.qkv").

    ran      step -> "kernel", "reference", or "reference (why the kernel was not used)"
    inputs   "image", and "labels" or "cotangent.PATH": the arrays that the pass was given
    weights  those that the pass was made with, where they are at hand: in a file they may stand beside the
             taps; else None
    about    plain values for JSON: the loss and its label smoothing (the labels in `inputs` are smoothed
             already), versions, backend, dtype, Config, preprocessing, weights (sha256),
             names of the pictures (None when the image came preprocessed), where each value came from,
             the order of the taps
    """

    def __init__(
        self,
        taps: Mapping[str, HostArray],
        *,
        ran: Mapping[str, str],
        inputs: Mapping[str, HostArray],
        about: Mapping[str, Any],
        weights: Weights | None = None,
    ) -> None:
        self._taps = {name: _read_only(array) for name, array in taps.items()}
        self.ran, self.weights = dict(ran), weights
        self.inputs = {name: _read_only(array) for name, array in inputs.items()}
        self.about = {"format": FORMAT, **about, "order": list(self._taps), "inputs": list(self.inputs)}

    def __getitem__(self, tap: str) -> HostArray:
        if tap not in self._taps:
            close = ", ".join(get_close_matches(str(tap), self._taps, n=3))
            hint = self._hidden(str(tap)) or (f"; there is {close}" if close else "")
            raise KeyError(f"no tap {tap!r} was recorded{hint}")
        return self._taps[tap]

    def _hidden(self, tap: str) -> str:
        """Why a kernel has no such tap, where one ran in its place."""
        steps = [
            step for step, how in self.ran.items() if how == "kernel" and f"{tap}.".startswith(f"{step}.")
        ]
        if not steps:
            return ""
        return f": {steps[0]} ran as one kernel; name the tap in only=, and the reference runs there"

    def __iter__(self) -> Iterator[str]:
        return iter(self._taps)

    def __len__(self) -> int:
        return len(self._taps)

    def __repr__(self) -> str:
        return f"Recording({len(self)} taps, {self.about['dtype']}, {self.about['backend']})"

    @property
    def config(self) -> Config:
        """Of the model. Raises CheckpointError where a file's settings are wrong."""
        return _config(self.about, "trace")

    def save(self, path: StrPath, weights: Weights | None = None) -> None:
        """Write a safetensors file: the taps under their names, the inputs as `input.NAME`.

        With `weights`, or where the recording has its own, these too, bit for bit, as `weight.NAME`: the file
        then says by itself how to repeat the pass. Its metadata has one key, `trace`: `about` and `ran` as
        JSON; safetensors does not keep the order of tensors, `order` there does. The file is written
        whole or not at all. Raises CheckpointError when it cannot be written, and ConfigError for
        weights that are not those of the pass.
        """
        weights = self.weights if weights is None else weights
        if weights is not None and weights.source.sha256 != self.about["weights"]["sha256"]:
            raise ConfigError(
                "Recording.save",
                found=f"weights whose sha256 is {weights.source.sha256}",
                expected=f"those of the pass, {self.about['weights']['sha256']}",
                remedy="Give the weights that the recording was made with.",
            )
        inputs = {f"{_INPUT}{name}": array for name, array in self.inputs.items()}
        parameters = {f"{_WEIGHT}{name}": array for name, array in (weights or {}).items()}
        metadata = {"trace": json.dumps({**self.about, "ran": self.ran}, sort_keys=True)}
        save_tensors(path, {**self._taps, **inputs, **parameters}, metadata)


def load(path: StrPath) -> Recording:
    """The recording in a file that `Recording.save` wrote; taps are read from the disk when looked at.

    Raises CheckpointError for a missing, damaged or foreign file, another version of the format, names
    that are not those that the file lists, and weights that are not those of the pass.
    """
    tensors, metadata = map_tensors(path)
    name = path_text(path)
    about = _about(metadata, name)
    ran = about.pop("ran")
    order, inputs = about["order"], about["inputs"]
    weights = {t.removeprefix(_WEIGHT): tensors[t] for t in tensors if t.startswith(_WEIGHT)}
    listed = {*order, *(f"{_INPUT}{n}" for n in inputs), *(f"{_WEIGHT}{n}" for n in weights)}
    if listed != set(tensors):
        raise _damaged(name, f"tensors other than it lists: {_some(listed ^ set(tensors))}")
    return Recording(
        {tap: tensors[tap] for tap in order},
        ran=ran,
        inputs={n: tensors[f"{_INPUT}{n}"] for n in inputs},
        about=about,
        weights=_weights(weights, about, name) if weights else None,
    )


def _about(metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    """What the metadata says of the pass, checked."""
    if "trace" not in metadata:
        raise CheckpointError(
            name,
            found="a safetensors file without the metadata of a trace",
            expected="a file that vitref trace or Recording.save wrote",
            remedy="Give such a file; tensors of other programs can be compared with vitref compare.",
        )
    try:
        about = json.loads(metadata["trace"])
    except (ValueError, RecursionError) as error:
        raise _damaged(name, f"metadata that are no JSON ({error})") from None
    kind = about.get("format") if isinstance(about, dict) else None
    if not isinstance(kind, str) or not kind.startswith(_NAME):
        raise _damaged(name, f"metadata of {kind!r}")
    if kind != FORMAT:
        raise CheckpointError(
            name,
            found=f"the format {kind!r}",
            expected=repr(FORMAT),
            remedy="Use the version of vitref that wrote it, or record the pass again with this one.",
        )
    wrong = [field for field, holds in _FIELDS.items() if not holds(about.get(field))]
    if wrong:
        raise _damaged(name, f"metadata in which {_some(set(wrong))} cannot be read")
    return dict(about)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


_FIELDS = {
    "order": _are_names,
    "inputs": lambda value: _are_names(value) and "image" in value,
    "ran": lambda value: _is_object(value) and all(map(_is_text, value.values())),
    "config": _is_object,
    "weights": lambda value: (
        _is_object(value) and _is_text(value.get("sha256")) and _is_text(value.get("path") or "")
    ),
    "provenance": lambda value: _is_object(value) and all(map(_is_text, value.values())),
    "backend": _is_text,
    "dtype": _is_text,
}
"""Field of `about` -> whether a value can be one."""


def _weights(tensors: Mapping[str, HostArray], about: Mapping[str, Any], name: str) -> Weights:
    """The weights beside the taps, as those that the recording speaks of."""
    recipe = about.get("preprocessing")
    origin = str(about["weights"].get("format", "vitref"))
    source = Source(path=name, format=origin, provenance=about["provenance"])
    config = _config(about, name)
    try:
        pixels = Preprocessing(**recipe) if recipe else None
    except (ConfigError, TypeError) as error:
        raise _damaged(name, f"a preprocessing that is wrong ({error})") from None
    weights = Weights(tensors, config, preprocessing=pixels, source=source)
    if weights.source.sha256 != about["weights"]["sha256"]:
        raise _damaged(name, "weights that are not those the pass was made with (another sha256)")
    return weights


def _config(about: Mapping[str, Any], name: str) -> Config:
    try:
        return Config(**about["config"])
    except (ConfigError, TypeError) as error:
        raise _damaged(name, f"settings of the model that are wrong ({error})") from None


def _some(names: set[str]) -> str:
    first = ", ".join(sorted(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"


def _damaged(name: str, found: str) -> CheckpointError:
    return CheckpointError(
        name, found=found, expected="a sound trace file", remedy="Record the pass again with vitref trace."
    )


def _read_only(array: HostArray) -> HostArray:
    view = array.view()
    view.flags.writeable = False
    return view
