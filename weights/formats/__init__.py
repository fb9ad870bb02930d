"""The layouts of other libraries: their names and axes, as reversible tables over canonical tensors.

`FORMATS` is the list. A format is added by a module that fills a `Format` and one row here.
"""

from collections.abc import Iterable

from vitref.errors import CheckpointError, ConfigError
from vitref.weights.formats import canonical, google, huggingface, timm
from vitref.weights.formats.format import ConfigFile, Format

__all__ = ["FORMATS", "ConfigFile", "Format", "detect", "get"]

FORMATS: dict[str, tuple[Format, ...]] = {
    "timm": (timm.FORMAT,),
    "huggingface": huggingface.STYLES,
    "google": google.STYLES,
    "vitref": (canonical.FORMAT,),
}
"""Name -> its styles, the one that is written by default first; where two formats recognise the same
tensors, the first is taken."""

_FOREIGN = {
    "deit.": "Hugging Face transformers (DeiT)",
    "beit.": "Hugging Face transformers (BEiT)",
    "dinov2.": "Hugging Face transformers (DINOv2)",
    "vision_model.": "Hugging Face transformers (CLIP or SigLIP)",
    "encoder.layers.encoder_layer_0.": "torchvision",
    "visual.": "OpenCLIP",
    "to_patch_embedding.": "vit-pytorch",
}


def get(name: str, style: str | None = None) -> Format:
    """The format of this name, in this style or in that which is written by default.

    Raises ConfigError when there is none.
    """
    if not isinstance(name, str) or name not in FORMATS:
        raise ConfigError(
            "format",
            found=repr(name),
            expected=f"one of {', '.join(FORMATS)}",
            remedy="Give the format by one of these names.",
        )
    found = next((form for form in FORMATS[name] if form.style == style), None)
    return found or FORMATS[name][0]


def detect(names: Iterable[str], where: str, name: str | None = None) -> Format:
    """The format, or the style of the one called `name`, that these tensor names belong to.

    Where the format is named and none of its styles fits, the default one tells later what does not.
    Raises CheckpointError when none does, and ConfigError for an unknown `name`.
    """
    names = list(names)
    candidates = FORMATS[get(name).name] if name is not None else sum(FORMATS.values(), ())
    for found in candidates:
        if found.recognises(names):
            return found
    library = next((who for part, who in _FOREIGN.items() for name in names if name.startswith(part)), None)
    if library is None:
        _refuse_prefix(names, candidates, where)
    if name is not None:
        return candidates[0]
    shown = ", ".join(names[:3]) + (f", and {len(names) - 3} more" if len(names) > 3 else "")
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


def _refuse_prefix(names: list[str], candidates: Iterable[Format], where: str) -> None:
    """Raise CheckpointError when the names are of a format but for something that they all begin with."""
    prefix = f"{names[0].partition('.')[0]}." if names else ""
    bare = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    if prefix and len(bare) == len(names) and any(form.recognises(bare) for form in candidates):
        raise CheckpointError(
            where,
            found=f"tensors whose names all begin with {prefix!r} ({names[0]}, ...)",
            expected=f"the same names without it ({bare[0]}, ...)",
            remedy=f"Remove the prefix {prefix!r} from every name; a wrapper of the model has left it there.",
        )
