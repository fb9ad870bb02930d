"""Recording: what `vitref.trace` returns, and the file it writes."""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from vitref.array import HostArray
from vitref.weights.files import StrPath, save_tensors

FORMAT = "vitref trace 1"


class Recording(Mapping[str, HostArray]):
    """Taps of one pass: an ordered mapping from tap to NumPy array, and what made them.

    Keys are paths ("blocks.0.attn.softmax"), then cotangents ("blocks.0.attn.softmax:dy"), both in the
    order in which they were computed, then parameter gradients ("blocks.0.attn.qkv.weight:grad") in
    the order of the weights. The arrays are read-only: taps may share memory ("blocks.0" is
    "blocks.0.add2"; "attn.q" is a view of "attn.qkv").

    ran      step -> "kernel", "reference", or "reference (why the kernel was not used)"
    inputs   "image", and "labels" or "cotangent.PATH": the arrays that the pass was given
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
    ) -> None:
        self._taps = {name: _read_only(array) for name, array in taps.items()}
        self.ran = dict(ran)
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

    def save(self, path: StrPath) -> None:
        """Write a safetensors file: the taps under their names, the inputs as `input.NAME`.

        Its metadata has one key, `trace`: `about` and `ran` as JSON; safetensors does not keep the
        order of tensors, `order` there does. The file is written whole or not at all. Raises
        CheckpointError when it cannot be written.
        """
        inputs = {f"input.{name}": array for name, array in self.inputs.items()}
        metadata = {"trace": json.dumps({**self.about, "ran": self.ran}, sort_keys=True)}
        save_tensors(path, {**self._taps, **inputs}, metadata)


def _read_only(array: HostArray) -> HostArray:
    view = array.view()
    view.flags.writeable = False
    return view
