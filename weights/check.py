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
"""The start of a name that belongs to a numbered block."""

_FEATURES = {
    "ls1.gamma": "LayerScale",
    "ls2.gamma": "LayerScale",
    "gamma_1": "LayerScale",
    "gamma_2": "LayerScale",
    "fc_norm.": "average pooling with a norm of its own",
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
    "pre_logits.": "a representation layer before the head",
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
            expected="exactly the tensors of a plain Vision Transformer with class token, each of its shape",
            remedy="Check that the file is complete and of this kind of model; nothing was loaded.",
        )


def require_finite(tensors: Mapping[str, npt.NDArray[Any]], where: str) -> None:
    """Raise CheckpointError naming every tensor with a NaN or an infinity, and how many it has."""
    bad = {name: int(array.size - np.count_nonzero(np.isfinite(array))) for name, array in tensors.items()}
    lines = [f"{name}: {count} of {tensors[name].size}" for name, count in bad.items() if count]
    if lines:
        raise CheckpointError(
            where,
            found="values that are NaN or infinite\n  " + "\n  ".join(lines),
            expected="finite numbers",
            remedy="Take an earlier checkpoint, or a wider dtype if the values were converted.",
        )


def _missing(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    names = [name for name in shapes if name not in tensors]
    whole = [block for block in _blocks(shapes) if not any(name.startswith(block) for name in tensors)]
    rest = [name for name in names if not name.startswith(tuple(whole))] if whole else names
    return [f"missing {block[:-1]}, all of it" for block in whole] + _grouped(
        (f"missing {n}", "") for n in rest
    )


def _extra(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    extra = [name for name in tensors if name not in shapes]
    return _grouped((f"extra {name} {_text(tensors[name].shape)}", _feature(name)) for name in extra)


def _misshapen(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    return _grouped(
        (f"misshapen {name} {_text(tensors[name].shape)}", f", expected {_text(shape)}")
        for name, shape in shapes.items()
        if name in tensors and not _fits(tensors[name].shape, shape)
    )


def _wrong_dtype(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    return _grouped(
        (f"dtype of {name} {tensors[name].dtype}", f", expected {', '.join(DTYPES)}")
        for name in shapes
        if name in tensors and tensors[name].dtype.newbyteorder("=") not in DTYPES.values()
    )


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
    return list(dict.fromkeys(match[0] for name in names if (match := BLOCK.match(name))))


def _grouped(lines: Iterable[tuple[str, str]]) -> list[str]:
    """One line for what is the same in several blocks: `missing blocks.*.norm1.bias (blocks 0, 3)`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for line, detail in lines:
        match = BLOCK.search(line)
        common = line.replace(match[0], "blocks.*.", 1) if match else line
        groups.setdefault((common, detail), []).append(match[1] if match else "")
    return [
        common.replace("blocks.*.", f"blocks.{blocks[0]}.") + detail
        if len(blocks) == 1
        else f"{common} (blocks {', '.join(blocks)}){detail}"
        for (common, detail), blocks in groups.items()
    ]
