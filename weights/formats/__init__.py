"""The layouts of other libraries: their names and axes, as reversible tables over canonical tensors.

`FORMATS` is the list. A format is added by a module that fills a `Format` and one row here.
"""

from collections.abc import Iterable

from vitref.errors import CheckpointError, ConfigError
from vitref.weights.formats import canonical, timm
from vitref.weights.formats.format import ConfigFile, Format

__all__ = ["FORMATS", "ConfigFile", "Format", "detect", "get"]

FORMATS: dict[str, Format] = {found.name: found for found in (timm.FORMAT, canonical.FORMAT)}
"""Every format by name; where two recognise the same names, the first is taken."""

_FOREIGN = {
    "vit.embeddings.": "Hugging Face transformers",
    "embeddings.patch_embeddings.": "Hugging Face transformers",
    "vision_model.": "Hugging Face transformers (CLIP or SigLIP)",
    "encoder.layers.encoder_layer_0.": "torchvision",
    "visual.": "OpenCLIP",
    "to_patch_embedding.": "vit-pytorch",
    "Transformer/encoderblock_0/": "Google's JAX code",
}


def get(name: str) -> Format:
    """The format of this name. Raises ConfigError when there is none."""
    if not isinstance(name, str) or name not in FORMATS:
        raise ConfigError(
            "format",
            found=repr(name),
            expected=f"one of {', '.join(FORMATS)}",
            remedy="Give the format by one of these names.",
        )
    return FORMATS[name]


def detect(names: Iterable[str], where: str) -> Format:
    """The format that these tensor names belong to. Raises CheckpointError when none does."""
    names = list(names)
    for found in FORMATS.values():
        if found.recognises(names):
            return found
    shown = ", ".join(names[:3]) + (f", and {len(names) - 3} more" if len(names) > 3 else "")
    library = next((who for part, who in _FOREIGN.items() for name in names if name.startswith(part)), None)
    raise CheckpointError(
        where,
        found=(
            f"tensors named as by {library}, not supported in this version ({shown})"
            if library
            else f"tensors of an unknown format ({shown})"
            if names
            else "no tensors"
        ),
        expected=f"a Vision Transformer named as by {', '.join(FORMATS)}",
        remedy="Rename the tensors as timm names them: cls_token, pos_embed, patch_embed.proj.weight, ...",
    )
