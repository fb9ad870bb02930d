"""`vitref convert`: a checkpoint in the names and layouts of another library, every value the same.

The file remembers the model's facts, so that vitref runs it exactly as before. What the library itself
would do otherwise is said, and a model that it has no place for is refused.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from typing import Any

from vitref import conventions
from vitref.cli.options import add_weights, load_weights
from vitref.errors import CheckpointError, ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights import Weights, companions, formats, load
from vitref.weights.files import atomic_write

ENDINGS = {"timm": ".safetensors", "vitref": ".safetensors", "google": ".npz", "huggingface": ""}
"""Format -> how the name of what is written ends; Hugging Face's is a folder."""

_FROM_FILES = {"huggingface": {"eps", "activation", "pool"}, "google": {"pool"}}
"""Format -> numerics that its files say themselves."""


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "convert", help="a checkpoint in the names and layouts of another library", description=__doc__
    )
    add_weights(parser)
    parser.add_argument(
        "out",
        metavar="OUT",
        help="what to write: a .safetensors file, .npz for google, a folder for huggingface",
    )
    parser.add_argument("--to", required=True, metavar="FORMAT", help=f"one of {', '.join(formats.FORMATS)}")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    target = formats.get(args.to).name
    _check_out(args.out, target)
    weights = load_weights(args)
    if weights.source.path and os.path.exists(args.out) and os.path.samefile(args.out, weights.source.path):
        raise ConfigError(
            "OUT", found="the file that is read", expected="a file of its own", remedy="Choose another name."
        )
    _require_heads(weights, target)
    remarks = write(weights, args.out, target)
    again = _compare(weights, args.out)
    if again.source.classes != weights.source.classes:
        remarks.append("The names of the classes are left out: the file has no room for so many.")
    kinds = ", ".join(sorted({str(array.dtype) for array in weights.values()}))
    print(f"read   {weights.source.path}: {weights.source.format}, {len(weights)} parameter tensors, {kinds}")
    print(f"wrote  {args.out}: {target}, {_counted(weights, target)}")
    print("check  read back, every value is the same bit for bit")
    for remark in [*remarks, *differences(weights, target)]:
        print(f"note   {remark}")
    return 0


def write(weights: Weights, out: str, target: str) -> list[str]:
    """Write `weights` in the format `target`, whole or not at all; what to know about the result.

    Raises ConfigError for a model that the format has no place for, and CheckpointError when it cannot
    be written.
    """
    if target != "huggingface":
        weights.save(out, format=target)
        return []
    beside = companions.huggingface(weights.config, weights.preprocessing, weights.source.classes)
    labelled = dataclasses.replace(weights.source, metadata={**weights.source.metadata, "format": "pt"})
    torch = Weights(dict(weights), weights.config, preprocessing=weights.preprocessing, source=labelled)
    with _new_folder(out) as folder:
        torch.save(os.path.join(folder, "model.safetensors"), format=target)
        for name, content in beside.files.items():
            with atomic_write(os.path.join(folder, name)) as file:
                file.write((json.dumps(content, indent=2) + "\n").encode())
    return beside.remarks


def _require_heads(weights: Weights, target: str) -> None:
    """The libraries derive the width of a head; vitref's own format states it."""
    config = weights.config
    if target in conventions.names() and config.heads * config.head_dim != config.width:
        raise ConfigError(
            f"format {target}",
            found=f"heads={config.heads}, head_dim={config.head_dim} for width {config.width}",
            expected=f"heads as wide as width / heads: {target} has no others",
            remedy="Convert to vitref, whose files state head_dim.",
        )


def differences(weights: Weights, target: str) -> list[str]:
    """What the library of this format would do otherwise, unless it is told, one sentence each."""
    if target not in conventions.names():
        return []
    config, known = weights.config, _FROM_FILES.get(target, set())
    facts = {n: f for n, f in conventions.model_facts(target).items() if n not in known}
    if config.grid == config.position_grid:
        facts.pop("position_resize", None)
    remarks = [
        f"{name} is {getattr(config, name)!r} here, and {fact.value!r} in {target} unless it is told "
        f"otherwise ({fact.source})."
        for name, fact in facts.items()
        if getattr(config, name) != fact.value
    ]
    if target == "timm" and config.pre_logits:
        remarks.append("pre_logits.fc is a layer of older versions of timm; today's refuses it.")
    if config.channels in (1, 3):
        usual = Preprocessing.convention(target, size=config.image_size, channels=config.channels)
        if weights.preprocessing is not None and weights.preprocessing != usual:
            remarks.append(_pixels(weights.preprocessing, usual, target))
    return remarks


def _counted(weights: Weights, target: str) -> str:
    """How many tensors are written, and why there are more than parameters."""
    count = len(weights.export(format=target))
    if count == len(weights):
        return f"{count} tensors"
    return f"{len(weights)} parameters as {count} tensors: query, key and value apart"


def _pixels(recipe: Preprocessing, usual: Preprocessing, target: str) -> str:
    """What of the preprocessing is not the library's usual one, value by value; and who must see to it."""
    found, other = recipe.to_dict(), usual.to_dict()
    differing = [name for name in found if found[name] != other[name]]
    parts = [f"{name} is {_plain(found[name])} here, {_plain(other[name])} there" for name in differing]
    written = not companions.impossible(recipe) if target == "huggingface" else False
    remedy = (
        f"{companions.PROCESSOR_FILE} says so"
        if written
        else f"no file of {target} says so, and its users must preprocess pictures so themselves"
    )
    return f"Pixels are preprocessed otherwise than usual in {target} ({'; '.join(parts)}): {remedy}."


def _plain(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) and len(value) == 2 else str(value)


def _check_out(out: str, target: str) -> None:
    ending = os.path.splitext(out)[1].lower()
    if target == "huggingface":
        found = "a file's name" if ending in (".safetensors", ".npz") or os.path.isfile(out) else ""
        found = found or ("a folder that is not empty" if os.path.isdir(out) and os.listdir(out) else "")
        expected = "the name of a new or empty folder"
    else:
        found = "" if ending == ENDINGS[target] else f"a name ending in {ending!r}"
        expected = f"a file name ending in {ENDINGS[target]}"
    if found:
        raise ConfigError(f"OUT {out}", found=found, expected=expected, remedy="Choose another name.")


@contextlib.contextmanager
def _new_folder(path: str) -> Iterator[str]:
    """A folder that becomes `path` when the block ends, and vanishes when it fails."""
    target = os.path.abspath(path)
    temporary = f"{target}.{secrets.token_hex(4)}.tmp"
    try:
        os.mkdir(temporary)
        yield temporary
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(target)
        os.rename(temporary, target)
    except OSError as error:
        raise CheckpointError(
            path,
            found=f"a folder that cannot be made ({error.strerror or error})",
            expected="a new or empty folder where one may be written",
            remedy="Choose another path, or change its permissions.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _compare(weights: Weights, out: str) -> Weights:
    """What was written, read back."""
    again = load(out)
    same = again.config == weights.config and again.preprocessing == weights.preprocessing
    if same and all(again[name].tobytes() == array.tobytes() for name, array in weights.items()):
        return again
    raise CheckpointError(
        out,
        found="something else than what was written",
        expected="the same values bit for bit",
        remedy="Check the disk, and do not use this file.",
    )
