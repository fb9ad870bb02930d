"""Checkpoints in several safetensors files, listed in an index beside them.

Source: huggingface_hub/serialization/_torch.py and transformers/modeling_utils.py: the index is a
JSON object whose `weight_map` gives, for every tensor, the name of the file that holds it.
"""

import os
from typing import Any

from vitref.errors import CheckpointError, ConfigError
from vitref.json_files import read_object
from vitref.weights.files import load_tensors

INDEX = "model.safetensors.index.json"
ENDING = ".safetensors.index.json"


def load(index: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Every tensor of every shard that the index lists, and the shards' metadata.

    Raises CheckpointError when the index is malformed, a shard is missing or lies elsewhere than in the
    index's folder, or a tensor is missing, in another shard than listed, or in two.
    """
    places = _weight_map(index)
    shards = sorted(set(places.values()))
    _check_names(shards, index)
    tensors: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for shard in shards:
        found, texts = load_tensors(os.path.join(os.path.dirname(index), shard))
        _check_listed(found, shard, places, index)
        tensors |= found
        metadata |= texts
    missing = [name for name in places if name not in tensors]
    if missing:
        raise _wrong(index, [f"{name}, not in {places[name]}" for name in missing])
    return {name: tensors[name] for name in places}, metadata


def _weight_map(index: str) -> dict[str, str]:
    try:
        content = read_object(index)
    except ConfigError as error:
        raise CheckpointError(
            error.where, found=error.found, expected="a shard index, a JSON object", remedy=error.remedy
        ) from None
    places = content.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise _wrong(f"{index}: weight_map", [ascii(places)[:60]])
    wrong = [f"{name}: {ascii(shard)[:60]}" for name, shard in places.items() if not isinstance(shard, str)]
    if wrong:
        raise _wrong(f"{index}: weight_map", wrong)
    return places


def _check_names(shards: list[str], index: str) -> None:
    """A shard is a file beside the index: no folders, no `..`, no absolute path."""
    folder = os.path.dirname(index)
    outside = [name for name in shards if not _is_plain(name)]
    if outside:
        raise _wrong(f"{index}: weight_map", [f"the shard {ascii(name)[:80]}" for name in outside])
    missing = [name for name in shards if not os.path.lexists(os.path.join(folder, name))]
    if missing:
        raise CheckpointError(
            index,
            found=f"{len(missing)} of {len(shards)} shards missing: {', '.join(missing[:10])}",
            expected="every shard that it lists beside it",
            remedy="Fetch the missing files too.",
        )


def _is_plain(name: str) -> bool:
    plain = name.endswith(".safetensors") and name.isprintable()
    return plain and not any(part in name for part in ("/", "\\", ":")) and not name.startswith(".")


def _check_listed(found: dict[str, Any], shard: str, places: dict[str, str], index: str) -> None:
    elsewhere = [
        f"{name} in {shard}, listed " + (f"in {places[name]}" if name in places else "nowhere")
        for name in found
        if places.get(name) != shard
    ]
    if elsewhere:
        raise _wrong(index, elsewhere)


def _wrong(where: str, lines: list[str]) -> CheckpointError:
    more = [f"and {len(lines) - 20} more"] if len(lines) > 20 else []
    return CheckpointError(
        where,
        found="an index that does not describe the files\n  " + "\n  ".join([*lines[:20], *more]),
        expected="a weight_map from every tensor to the one shard beside it that holds it",
        remedy="Fetch the index and all its shards again, from one place.",
    )
