"""Tensors against the names and shapes that a model needs: every problem, in one error."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from vitref.errors import CheckpointError

DTYPES: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
"""The dtypes that a parameter may have."""

BLOCK = re.compile(r"blocks\.(0|[1-9]\d{0,5})\.")
"""The start of a canonical name that belongs to a numbered block."""

_ANY_BLOCK = re.compile(r"(?:^|.*?[./])(?:blocks\.|layers?\.|encoderblock_)(0|[1-9]\d{0,5})[./]")
"""The start of such a name in any format."""

_ANY_NUMBER = re.compile(r"(?:^|.*?[._/])(0|[1-9]\d{0,5})(?:[./]|$)")
"""The start of a name in which a number is counted up, whatever it counts."""

LONGEST = 12
"""Lines of one kind in an error; what goes beyond is counted."""

_FEATURES = {
    "gamma_1": "LayerScale",
    "gamma_2": "LayerScale",
    "fc_norm.": "a norm on the pooled vector, in the place of norm",
    "lambda1": "LayerScale",
    "register_tokens": "register tokens",
    "distillation": "distillation",
    "decoder.": "a decoder, for masked-image training",
    "pooler.": "a pooler beside a classifier, which transformers does not use",
    "reg_token": "register tokens",
    "dist_token": "a distillation token",
    "head_dist.": "a distillation head",
    "norm_pre.": "a norm before the blocks",
    "q_norm.": "a norm on queries and keys",
    "k_norm.": "a norm on queries and keys",
    "q_bias": "separate query and value biases",
    "v_bias": "separate query and value biases",
    "relative_position_bias_table": "relative position bias",
    "attn_pool.": "attention pooling",
    "patch_embed.backbone.": "a convolutional stem",
    "conv_root/": "a convolutional stem",
    "gn_root/": "a convolutional stem",
    "/unit": "a convolutional stem",
    "MAPHead_0/": "attention pooling",
    "mask_token": "masked-image training",
    "fc1_g.": "a gated MLP",
    "rope": "rotary position embedding",
}


def require(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raise CheckpointError when a tensor is missing, extra, misshapen or of a wrong dtype; all at once.

    shapes  name -> expected shape; a negative size stands for one that is not known
    """
    lines = [
        *_missing(tensors, shapes),
        *_extra(tensors, shapes),
        *_misshapen(tensors, shapes),
        *_wrong_dtype(tensors, shapes),
    ]
    if lines:
        raise CheckpointError(
            where,
            found="tensors that do not fit the model\n  " + "\n  ".join(lines),
            expected="exactly the tensors of a plain Vision Transformer, each of its shape",
            remedy="Check that the file is complete and of this kind of model; nothing was loaded.",
        )


def require_finite(tensors: Mapping[str, npt.NDArray[Any]], where: str) -> None:
    """Raise CheckpointError naming every tensor with a NaN or an infinity, and how many it has."""
    bad = {name: int(array.size - np.count_nonzero(np.isfinite(array))) for name, array in tensors.items()}
    lines = [f"{name}: {count} of {tensors[name].size}" for name, count in bad.items() if count]
    if lines:
        raise CheckpointError(
            where,
            found="values that are NaN or infinite\n  " + "\n  ".join(cut(lines)),
            expected="finite numbers",
            remedy="Take an earlier checkpoint, or a wider dtype if the values were converted.",
        )


def _missing(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    names = [name for name in shapes if name not in tensors]
    present = set(_blocks(tensors))
    whole = [block for block in _blocks(shapes) if block not in present]
    rest = [name for name in names if not name.startswith(tuple(whole))] if whole else names
    lines = [f"missing {block[:-1]}, all of it" for block in whole]
    return cut(lines + _grouped(("missing", name, "") for name in rest))


def _extra(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    extra = [name for name in tensors if name not in shapes]
    lines = _grouped(("extra", name, f" {_text(tensors[name].shape)}{_feature(name)}") for name in extra)
    return cut(lines)


def _misshapen(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    lines = _grouped(
        ("misshapen", name, f" {_text(tensors[name].shape)}, expected {_text(shape)}")
        for name, shape in shapes.items()
        if name in tensors and not _fits(tensors[name].shape, shape)
    )
    return cut(lines)


def _wrong_dtype(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    lines = _grouped(
        ("dtype of", name, f" {tensors[name].dtype}, expected {', '.join(DTYPES)}")
        for name in shapes
        if name in tensors and tensors[name].dtype.newbyteorder("=") not in DTYPES.values()
    )
    return cut(lines)


def cut(lines: list[str]) -> list[str]:
    """The first LONGEST lines, and how many more there are."""
    more = len(lines) - LONGEST
    return lines if more <= 1 else [*lines[:LONGEST], f"and {more} more"]


def _fits(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    pairs = zip(found, expected, strict=False)
    return len(found) == len(expected) and all(size == want or want < 0 for size, want in pairs)


def _text(shape: tuple[int, ...]) -> str:
    sizes = ", ".join("?" if size < 0 else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"


def _feature(name: str) -> str:
    for part, feature in _FEATURES.items():
        if part in name:
            return f": {feature}, not supported in this version"
    return ""


def _blocks(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(match[0] for name in names if (match := _ANY_BLOCK.match(name))))


def _grouped(lines: Iterable[tuple[str, str, str]]) -> list[str]:
    """(before, name, after) as lines; one for what is the same in several blocks, or under several numbers:
    `missing blocks.*.norm1.bias (blocks 0, 3)`."""
    groups: dict[tuple[str, str, str, bool], list[tuple[str, str]]] = {}
    for before, name, after in lines:
        match = _ANY_BLOCK.match(name) or _ANY_NUMBER.match(name)
        common = f"{name[: match.start(1)]}*{name[match.end(1) :]}" if match else name
        key = before, common, after, match is not None
        groups.setdefault(key, []).append((name, match[1] if match else ""))
    return [
        f"{before} {members[0][0]}{after}"
        if len(members) == 1
        else f"{before} {common}{after} ({_counted(members)})"
        for (before, common, after, _), members in groups.items()
    ]


def _counted(members: list[tuple[str, str]]) -> str:
    """The numbers of the members, as `blocks 0, 3` or `0 to 11`."""
    numbers = [int(number) for _, number in members]
    run = len(numbers) > 3 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    text = f"{numbers[0]} to {numbers[-1]}" if run else ", ".join(map(str, numbers))
    return f"blocks {text}" if _ANY_BLOCK.match(members[0][0]) else text
