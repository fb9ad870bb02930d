"""The files that Hugging Face transformers wants beside the tensors, written from Config and Preprocessing.

The inverse of what `formats.huggingface` and `processors` read. Each function says in remarks what the
files cannot say, or the library would do otherwise.

Source: transformers/models/vit/configuration_vit.py and image_processing_vit.py.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from vitref.config import Config
from vitref.preprocessing import Preprocessing

CONFIG_FILE, PROCESSOR_FILE = "config.json", "preprocessor_config.json"

_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}
_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
_RESIZE = "bicubic"


class Companions(NamedTuple):
    """files: name -> JSON object; remarks: what a user should know, one sentence each."""

    files: dict[str, dict[str, Any]]
    remarks: list[str]


def huggingface(config: Config, recipe: Preprocessing | None, names: Sequence[str] = ()) -> Companions:
    """config.json, and preprocessor_config.json where ViTImageProcessor can do what `recipe` says.

    names  of the classes, or () where they are not known
    """
    remarks = []
    if config.grid != config.position_grid:
        remarks.append(
            f"{CONFIG_FILE} says the image size of the position table; for others transformers wants "
            "interpolate_pos_encoding=True."
        )
        if config.position_resize != _RESIZE:
            remarks.append(f"It then resizes by {_RESIZE!r}, not by {config.position_resize!r}.")
    files = {CONFIG_FILE: _config(config, names)}
    reason = "the preprocessing is not known" if recipe is None else impossible(recipe)
    if recipe is not None and not reason:
        files[PROCESSOR_FILE] = _processor(recipe)
    else:
        remarks.append(f"{PROCESSOR_FILE} is not written: {reason}.")
    return Companions(files, remarks)


def _config(config: Config, labels: Sequence[str]) -> dict[str, Any]:
    grid, patch = config.position_grid, config.patch_size
    size = config.image_size if config.grid == grid else (grid[0] * patch[0], grid[1] * patch[1])
    content: dict[str, Any] = {
        "architectures": ["ViTForImageClassification" if config.classes else "ViTModel"],
        "model_type": "vit",
        "image_size": _pair(size),
        "patch_size": _pair(patch),
        "num_channels": config.channels,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_act": _ACTIVATIONS[config.activation],
        "layer_norm_eps": config.eps,
        "qkv_bias": config.qkv_bias,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    if config.classes:
        names = {str(k): labels[k] if labels else f"LABEL_{k}" for k in range(config.classes)}
        content |= {"id2label": names, "label2id": {name: int(k) for k, name in names.items()}}
    if config.pre_logits:
        content |= {"pooler_output_size": config.pre_logits, "pooler_act": "tanh"}
    return content


def impossible(recipe: Preprocessing) -> str:
    """Why ViTImageProcessor cannot do it; empty when it can."""
    if recipe.resize != "squash" or recipe.resize_to != recipe.size:
        return "ViTImageProcessor does not crop"
    if recipe.interpolation not in _FILTERS:
        return f"Pillow has no filter {recipe.interpolation!r}"
    return ""


def _processor(recipe: Preprocessing) -> dict[str, Any]:
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": recipe.size[0], "width": recipe.size[1]},
        "resample": _FILTERS[recipe.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(recipe.mean),
        "image_std": list(recipe.std),
    }


def _pair(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)
