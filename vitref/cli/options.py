"""Command-line arguments that several commands share, and the weights they name."""

import argparse
import json
import sys
from typing import Any

from rich.console import Console

from vitref import backends, config, conventions, preprocessing
from vitref.errors import ConfigError
from vitref.weights import Weights, bundled, load

BUNDLED = "bundled"
"""In place of a file: the small checkpoint of handwritten digits that comes with vitref."""


def add_weights(parser: argparse.ArgumentParser, *, optional: bool = False) -> argparse.Action:
    """WEIGHTS, which is returned, and what `add_facts` adds."""
    weights = parser.add_argument(
        "weights",
        metavar="WEIGHTS",
        nargs="?" if optional else None,
        help=f"checkpoint file or folder, or '{BUNDLED}' for the digits model that comes with vitref",
    )
    add_facts(parser)
    return weights


def add_facts(parser: argparse.ArgumentParser) -> None:
    """What may be said about the weights that the file does not say."""
    names = ", ".join(conventions.names())
    parser.add_argument(
        "--convention",
        metavar="NAME",
        help=f"the library whose numerics to use where the file says nothing: {names}",
    )
    parser.add_argument(
        "--architecture",
        metavar="NAME",
        help="the published name of the model (vit_base_patch16_224, say), for what no file says",
    )
    parser.add_argument(
        "--set",
        dest="fields",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="a fact about the model or its preprocessing (heads=3, image_size=224,224); may be repeated",
    )


def add_numerics(parser: argparse.ArgumentParser, *, dtype: str) -> None:
    parser.add_argument(
        "--backend", metavar="NAME", default="numpy", help="vitref backends lists them; default: numpy"
    )
    parser.add_argument(
        "--backend-set",
        dest="options",
        metavar="OPTION=VALUE",
        action="append",
        default=[],
        help="an option of the backend (threads=4, device=1); may be repeated",
    )
    parser.add_argument("--dtype", default=dtype, help=f"as the backend can; default: {dtype}")
    parser.add_argument(
        "--precision", default="strict", help="of float32 products, as the backend can; default: strict"
    )


def numerics(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_numerics` asked for, as arguments of `vitref.forward` and the like."""
    options: dict[str, Any] = {}
    for text in args.options:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or name.strip() in options:
            raise ConfigError(
                f"--backend-set {text}",
                found="an option twice" if equals and name.strip() else "no OPTION=VALUE",
                expected="an option and its value, each option once",
                remedy="Write threads=4, say.",
            )
        options[name.strip()] = _value(value.strip())
    backend = backends.get(args.backend, **options)
    return {"backend": backend, "dtype": args.dtype, "precision": args.precision}


def load_weights(args: argparse.Namespace) -> Weights:
    path = bundled.checkpoint() if args.weights == BUNDLED else args.weights
    return load(path, convention=args.convention, architecture=args.architecture, **given_fields(args))


def given_fields(args: argparse.Namespace) -> dict[str, Any]:
    """What --set says, field -> value."""
    fields: dict[str, Any] = {}
    for text in args.fields:
        name, value = _field(text)
        if name in fields:
            raise ConfigError(
                f"--set {text}", found=f"{name} twice", expected="each field once", remedy="Leave one out."
            )
        fields[name] = value
    return fields


def class_names(args: argparse.Namespace, weights: Weights) -> list[str]:
    """One name per class: from --classes FILE, one a line; the checkpoint's own; else "class K"."""
    classes = weights.config.classes
    if args.classes:
        return _read_names(args.classes, classes)
    if weights.source.classes:
        return [" ".join(name.split()) for name in weights.source.classes]
    return [str(k) if args.weights == BUNDLED else f"class {k}" for k in range(classes)]


def labels(text: str) -> list[int]:
    """The classes of --labels K[,K...]."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            "--labels",
            found=repr(text),
            expected="whole numbers separated by commas",
            remedy="Write 281,7, say.",
        ) from None


def _read_names(path: str, classes: int) -> list[str]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            names = [" ".join(line.split()) for line in file.read().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "a file that is not UTF-8 text"
        raise ConfigError(
            f"--classes {path}",
            found=reason,
            expected="a text file with one name per line",
            remedy="Check the path.",
        ) from None
    if len(names) != classes:
        raise ConfigError(
            f"--classes {path}",
            found=f"{len(names)} lines",
            expected=f"{classes}, one per class",
            remedy="Give the names of this model's classes, in its order.",
        )
    return names


def _field(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    allowed = config.FIELDS | preprocessing.FIELDS
    if equals and name.strip() not in allowed:
        raise ConfigError(
            f"--set {text}",
            found=f"unknown field {name.strip()}",
            expected=f"one of {', '.join(sorted(allowed))}",
            remedy="Correct the spelling.",
        )
    if not equals or not name.strip():
        raise ConfigError(
            f"--set {text}",
            found="no FIELD=VALUE",
            expected="a field and its value",
            remedy="Write heads=3, say.",
        )
    return name.strip(), _value(value.strip())


def _value(text: str) -> Any:
    """A number, true or false, several numbers separated by commas, or else the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    parts = [_number(part) for part in text.split(",")]
    if any(part is None for part in parts):
        return text
    return tuple(parts) if len(parts) > 1 else parts[0]


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def console() -> Console:
    """For tables: as wide as the terminal, or 200 columns when the output goes elsewhere."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
