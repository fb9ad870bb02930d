"""`vitref capture`: what another implementation computes on the way, in a file that `vitref compare` reads.

The implementation is a torch module (--torch), an ONNX file (--onnx) or a Python function (--python). It is
given the image of a reference trace, and its labels or cotangents, so that both compute the same. MODULE is a
package (my_port.model) or a file (model.py); NAME in it is, for --torch, an nn.Module or a function without
arguments that returns one, and for --python a function of the image that returns an array, or arrays by name.
"""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import vitref
from vitref import recording
from vitref.cli.options import add_facts, labels, load_weights, print_json
from vitref.config import Config
from vitref.errors import CheckpointError, ConfigError
from vitref.verify import capture
from vitref.verify.capture import imported, onnx_file
from vitref.verify.capture.objective import LOSSES
from vitref.verify.capture.sink import Captured
from vitref.weights import npy

SHOWN = 3
"""Names of what was left out that are shown."""


@dataclass(frozen=True)
class Given:
    """What the candidate is given. `config` is None where no reference is known."""

    image: Any
    labels: Any
    cotangent: Mapping[str, Any] | None
    loss: str
    config: Config | None


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "capture", help="record what another implementation computes", description=__doc__
    )
    add = parser.add_argument
    candidate = parser.add_mutually_exclusive_group(required=True)
    candidate.add_argument("--torch", metavar="MODULE:NAME", help="a torch module, in evaluation mode")
    candidate.add_argument("--onnx", metavar="FILE", help="an ONNX model, run by ONNX Runtime")
    candidate.add_argument("--python", metavar="MODULE:NAME", help="a Python function of the image")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--trace", metavar="FILE", help="reference whose image, labels or cotangents to use")
    source.add_argument(
        "--image", metavar="FILE", nargs="+", help="pictures, for --weights; or one .npy, preprocessed"
    )
    add("--out", metavar="FILE", required=True, help="the .safetensors file to write")
    add("--labels", metavar="K[,K...]", help="with --image: one class per image, for a backward pass")
    add("--weights", metavar="WEIGHTS", help="with --image: the reference's checkpoint")
    add("--forward-only", action="store_true", help="no backward pass, though the trace has one")
    add("--own-names", action="store_true", help="store everything under the candidate's own names")
    add("--loss", metavar="LOSS", help=f"of --torch: {', '.join(LOSSES)}, or MODULE:NAME of a function")
    add("--autocast", metavar="DTYPE", help="of --torch: bfloat16 or float16, for the forward pass")
    add("--input", metavar="NAME", help="of --onnx: the graph's input for the image")
    add("--layout", default="NCHW", choices=onnx_file.LAYOUTS, help="of that input; default: NCHW")
    add("--optimisation", default="off", choices=onnx_file.LEVELS, help="of --onnx; default: off")
    add("--only", metavar="VALUE", action="append", help="of --onnx: keep this value; may be repeated")
    add("--json", action="store_true", help="print JSON")
    add_facts(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    _refuse_foreign(args)
    _refuse_over_trace(args)
    given = _of_trace(args) if args.trace else _of_files(args)
    with _progress() as progress:
        found = _captured(args, given, {"out": args.out, "progress": progress})
    if args.json:
        print_json({"file": args.out, **_counts(found), "about": found.about})
    else:
        _show(args, given, found)
    return 0


def _captured(args: argparse.Namespace, given: Given, rest: Mapping[str, Any]) -> Captured:
    config = None if args.own_names else given.config
    if args.onnx:
        return capture.onnx(
            args.onnx,
            given.image,
            config=config,
            only=args.only,
            optimisation=args.optimisation,
            input=args.input,
            layout=args.layout,
            **rest,
        )
    objective = {} if args.forward_only else {"labels": given.labels, "cotangent": given.cotangent}
    if args.python:
        return capture.callable(args.python, given.image, **objective, config=given.config, **rest)
    loss = imported.named(args.loss, "--loss") if ":" in (args.loss or "") else args.loss or given.loss
    options = {"config": config, "loss": loss, "autocast": args.autocast}
    return capture.torch_module(_model(args.torch), given.image, **objective, **options, **rest)


def _model(text: str) -> Any:
    """The module that is named, or that the named function returns. Imports torch first, for its error."""
    torch = imported.library("torch")
    found = imported.named(text, "--torch")
    if isinstance(found, torch.nn.Module):
        return found
    with imported.users_code(f"--torch {text}", "a function without arguments that returns an nn.Module"):
        return found()


def _of_trace(args: argparse.Namespace) -> Given:
    trace = recording.load(args.trace)
    if trace.about.get("train"):
        raise ConfigError(
            f"--trace {args.trace}",
            found="a training pass, with dropout of vitref's own",
            expected="a pass in evaluation",
            remedy="Record the reference again without train=.",
        )
    start = "cotangent."
    cotangent = {k.removeprefix(start): v for k, v in trace.inputs.items() if k.startswith(start)}
    loss = str(trace.about.get("loss", LOSSES[0]))
    return Given(trace.inputs["image"], trace.inputs.get("labels"), cotangent or None, loss, trace.config)


def _of_files(args: argparse.Namespace) -> Given:
    weights = load_weights(args) if args.weights else None
    classes = None if args.labels is None else labels(args.labels)
    config = None if weights is None else weights.config
    if len(args.image) == 1 and args.image[0].endswith(".npy"):
        return Given(_array(args.image[0]), classes, None, LOSSES[0], config)
    if weights is None:
        raise ConfigError(
            "--image",
            found="pictures, and no --weights",
            expected="a checkpoint that says how they are preprocessed",
            remedy="Give --weights, or --trace instead, or the preprocessed image as one .npy file.",
        )
    pixels = vitref.preprocess([Path(image) for image in args.image], weights)
    return Given(pixels, classes, None, LOSSES[0], config)


def _array(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            return npy.read(file, os.path.getsize(path), path)
    except OSError as error:
        raise CheckpointError(
            path,
            found=f"a file that cannot be read ({error.strerror or error})",
            expected="the preprocessed image, as numpy.save writes it",
            remedy="Check the path.",
        ) from None


def _refuse_foreign(args: argparse.Namespace) -> None:
    """Raise ConfigError for options that the kind of candidate, or of source, does not have."""
    kind = next(name for name in ("torch", "onnx", "python") if getattr(args, name))
    of_torch = {"--loss": args.loss, "--autocast": args.autocast}
    of_onnx = {"--input": args.input, "--only": args.only, "--optimisation": args.optimisation != "off"}
    of_onnx |= {"--layout": args.layout != "NCHW"}
    facts = args.fields or args.convention or args.architecture
    of_image = {"--labels": args.labels, "--weights": args.weights, "--set, --convention": facts}
    foreign = {f"{name} without --torch": v for name, v in of_torch.items() if kind != "torch"}
    foreign |= {f"{name} without --onnx": v for name, v in of_onnx.items() if kind != "onnx"}
    foreign |= {f"{name} beside --trace, which says it": v for name, v in of_image.items() if args.trace}
    wrong = [name for name, value in foreign.items() if value]
    if wrong:
        raise ConfigError(
            "vitref capture",
            found=", ".join(wrong),
            expected="options of this kind of candidate and source",
            remedy="Leave the option out; vitref capture --help says where each belongs.",
        )


def _refuse_over_trace(args: argparse.Namespace) -> None:
    if args.trace and os.path.realpath(args.out) == os.path.realpath(args.trace):
        raise ConfigError(
            f"--out {args.out}",
            found="the file of --trace",
            expected="another file",
            remedy="Choose another name; the reference is needed for the comparison.",
        )


def _counts(found: Captured) -> dict[str, int]:
    names = [name for name in found if not name.startswith("input.")]
    ends = Counter(name.rpartition(":")[2] if ":" in name else "" for name in names)
    return {
        "images": len(found["input.image"]),
        "cotangents": ends["dy"],
        "gradients": ends["grad"],
        "taps": len(names) - ends["dy"] - ends["grad"],
    }


def _show(args: argparse.Namespace, given: Given, found: Captured) -> None:
    counts = _counts(found)
    said = [f"{counts[kind]} {kind}" for kind in ("taps", "cotangents", "gradients") if counts[kind]]
    dtypes = sorted({str(a.dtype) for name, a in found.items() if not name.startswith("input.")})
    size = Path(args.out).stat().st_size / 2**20
    images = f"{counts['images']} image{'' if counts['images'] == 1 else 's'}"
    print(f"{args.out}: {', '.join(said)} of {images}, {', '.join(dtypes)}, {size:.1f} MiB")
    for remark in _remarks(args, given, found):
        print(f"note   {remark}")
    if args.trace:
        print(f"next   vitref compare {args.trace} {args.out}")


def _remarks(args: argparse.Namespace, given: Given, found: Captured) -> Iterator[str]:
    seen = found["input.image"]
    if not np.array_equal(np.broadcast_to(given.image, seen.shape), seen):
        kinds = f"from {given.image.dtype} to {seen.dtype}"
        yield f"The image was rounded {kinds}, as the candidate takes it, and stored so."
    if args.onnx and not args.forward_only and (given.labels is not None or given.cotangent):
        yield "ONNX graphs have no backward pass: there are no gradients."
    if found.about.get("frozen"):
        frozen = found.about["frozen"]
        yield f"No gradients of parameters with requires_grad=False: {_some(frozen)}."
    if args.torch and found.about.get("library") is None:
        yield "Arrays have the names of the module's own parts; vitref compare can propose a map for them."
    left_out = list(found.about["left_out"])
    if left_out:
        yield f"Left out, as no tap of vitref: {_some(left_out)}; --own-names keeps them."


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


@contextmanager
def _progress() -> Iterator[Callable[[str], None] | None]:
    """What to call with every name: None where nobody is watching standard error."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield None
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as progress:
        task, names = progress.add_task("Capturing", total=None), [0]

        def report(name: str) -> None:
            names[0] += 1
            progress.update(task, description=f"Capturing {names[0]}: {escape(name)}")

        yield report
