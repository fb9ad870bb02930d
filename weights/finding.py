"""From a path to tensors: which file in a folder holds the weights, and which reader it needs."""

import os
from collections.abc import Mapping
from typing import Any

from vitref.errors import CheckpointError
from vitref.weights import npz, refusals, shards
from vitref.weights.files import StrPath, load_tensors, path_text


def find(path: StrPath) -> str:
    """The file itself, or the one in a folder that holds the weights or lists their parts.

    Raises CheckpointError when there is none, or several of which none is the usual one.
    """
    name = path_text(path)
    try:
        if not os.path.isdir(name):
            return name
        inside = sorted(os.listdir(name))
    except OSError as error:
        raise refusals.unreadable(name, error) from error
    usual = next((entry for entry in ("model.safetensors", shards.INDEX) if entry in inside), None)
    files = [entry for entry in inside if entry.endswith((".safetensors", ".npz"))]
    if usual or len(files) == 1:
        return os.path.join(name, usual or files[0])
    raise CheckpointError(
        name,
        found=f"a folder with {', '.join(files or inside[:10]) or 'nothing in it'}",
        expected=f"model.safetensors, {shards.INDEX}, or one safetensors or npz file",
        remedy="Give the file itself." if files else _remedy(name, inside),
    )


def read(file: str) -> tuple[Mapping[str, Any], dict[str, str]]:
    """Every tensor of what `find` gave, and the metadata. Raises CheckpointError for anything unsound."""
    if os.path.basename(file).endswith(shards.ENDING):
        return shards.load(file)
    if file.lower().endswith(".npz"):
        return npz.load_arrays(file)
    return npz.load_arrays(file) if file.endswith(".npz") else load_tensors(file)


def _remedy(folder: str, inside: list[str]) -> str:
    """For a folder without weights that we read: how to convert the ones that are there, if any."""
    pickles = [entry for entry in inside if entry.lower().endswith(refusals.PICKLE_SUFFIXES)]
    if not pickles:
        return "Put the weights there as model.safetensors."
    command = refusals.conversion(os.path.join(folder, pickles[0]))
    return f"Convert it once, where torch and safetensors are installed, with: {command}"
