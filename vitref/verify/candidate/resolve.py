"""From the names in a file to taps: vitref's own names, gradients of parameters, a library's modules.

Nothing is dropped in silence: what is the same output under a second name is listed, what is unknown is
left for the caller to report.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vitref.config import Config
from vitref.errors import CheckpointError, ConfigError
from vitref.verify.candidate import gradients, names
from vitref.verify.candidate.libraries import onnx_values
from vitref.verify.candidate.names import GRADIENT, Rule
from vitref.verify.candidate.stored import Stored

Shapes = Mapping[str, tuple[int, ...]]

OUTPUTS = ("output", "output_0", "outputs", "out")
"""Names that say no more than that an array is what the model returned; so do mere numbers."""


@dataclass
class Resolved:
    """taps     tap -> array, in the tap's layout
    second   further name -> the tap that it holds too, and which was read under another name
    left_out name -> why it is not read
    foreign  name -> the tap that it would be, which this reference does not have
    unknown  name -> array
    library  whose names they are, where a table was needed
    remarks  what was assumed, in full sentences
    """

    taps: dict[str, Stored] = field(default_factory=dict)
    second: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, Stored] = field(default_factory=dict)
    library: str | None = None
    remarks: list[str] = field(default_factory=list)


def resolve(arrays: Mapping[str, Stored], expected: Shapes, config: Config, where: str) -> Resolved:
    """Every array under its tap, as far as its name says which.

    expected  the reference's taps and their shapes

    Raises CheckpointError when two names are one tap of vitref's own, or a part of a gradient is missing.
    """
    found = Resolved()
    rest = _gradients(_own(arrays, expected, config, where, found), expected, config, where, found)
    library = names.library_of(_module(name) for name in rest)
    candidates: dict[str, tuple[int, str, Stored]] = {}
    for name, stored in rest.items():
        rule = None if library is None else rule_of(library, name, config)
        if rule is None:
            _unruled(library, name, stored, found)
        elif rule.tap not in expected:
            found.foreign[name] = rule.tap
        else:
            found.library = library
            _prefer(candidates, rule, name, stored, found)
    found.taps |= {tap: stored for tap, (_, _, stored) in candidates.items()}
    _final_output(found, expected)
    found.foreign |= {name: name for name in found.unknown if _of_another_depth(name, expected)}
    found.unknown = {name: stored for name, stored in found.unknown.items() if name not in found.foreign}
    return found


def _unruled(library: str | None, name: str, stored: Stored, found: Resolved) -> None:
    """A name without rule is unknown, or known not to say which output it is."""
    if library is not None and names.runs_twice(library, name):
        found.left_out[name] = "of a module that runs more than once in a block"
    elif onnx_values.split(name) is not None:
        found.left_out[name] = "a value inside a module of the graph"
    else:
        found.unknown[name] = stored


def rule_of(library: str, name: str, config: Config) -> Rule | None:
    """As `names.rule`, also for names of ONNX values."""
    parts = onnx_values.split(name)
    if parts is None:
        return names.rule(library, name, config)
    rule = names.rule(library, parts[0], config)
    tap = None if rule is None else onnx_values.tap_of(rule.tap, parts[1])
    return None if rule is None or tap is None else rule._replace(tap=tap)


def own_name(name: str, expected: Shapes) -> str | None:
    """The tap of this name, as the reference has it; NAME.dy, NAME.grad and slashes are accepted.

    The gradient of an output that is no parameter is its cotangent.
    """
    dotted = gradients.dots(name)
    stem, ending = names.split(name)
    marked = gradients.bare(name)
    possible = [dotted, f"{marked}{GRADIENT}" if marked else "", f"{stem}{ending}"]
    return next((tap for tap in possible if tap in expected), None)


def _module(name: str) -> str:
    parts = onnx_values.split(name)
    return parts[0] if parts else name


def _own(
    arrays: Mapping[str, Stored], expected: Shapes, config: Config, where: str, found: Resolved
) -> dict[str, Stored]:
    """Files taps that have vitref's own names; returns the others."""
    rest: dict[str, Stored] = {}
    only_gradients = gradients.parameters_only(arrays, expected, config)
    for name, stored in arrays.items():
        tap = None if only_gradients else own_name(name, expected)
        if tap is None:
            rest[name] = stored
        elif tap in found.taps:
            raise twice(where, tap, found.taps[tap].name, stored.name)
        else:
            found.taps[tap] = _in_our_layout(tap, stored, expected, config)
    return rest


def _in_our_layout(tap: str, stored: Stored, expected: Shapes, config: Config) -> Stored:
    """A tap whose name timm has too may have timm's layout: the convolution's output before flattening."""
    rule = names.rule("timm", tap, config)
    if stored.shape == expected[tap] or rule is None or rule.tap != tap:
        return stored
    return stored.changed(rule.change)


def _gradients(
    arrays: Mapping[str, Stored], expected: Shapes, config: Config, where: str, found: Resolved
) -> dict[str, Stored]:
    """Files gradients of parameters; returns the others."""
    only = gradients.parameters_only(arrays, expected, config)
    marked = {gradients.dots(name) if only else gradients.bare(name): name for name in arrays}
    marked.pop(None, None)
    if only:
        found.remarks.append("All names are those of parameters: the arrays are read as their gradients.")
    by_name = {str(bare): arrays[name] for bare, name in marked.items()}
    made, used = gradients.gradients(by_name, config, where)
    for tap, stored in made.items():
        if tap in found.taps:
            raise twice(where, tap, found.taps[tap].name, stored.name)
        if tap in expected:
            found.taps[tap] = stored
        else:
            found.foreign[stored.name] = tap
    taken = {name for bare, name in marked.items() if bare in used}
    return {name: stored for name, stored in arrays.items() if name not in taken}


def _prefer(
    candidates: dict[str, tuple[int, str, Stored]], rule: Rule, name: str, stored: Stored, found: Resolved
) -> None:
    """Of several modules with one output, the one that stands first in the table."""
    tap = rule.tap
    if tap in found.taps:
        found.second[name] = tap
        return
    mine = (rule.rank, name, stored.changed(rule.change))
    if tap in candidates:
        mine, other = sorted((mine, candidates[tap]), key=lambda one: one[:2])
        found.second[other[1]] = tap
    candidates[tap] = mine


def _final_output(found: Resolved, expected: Shapes) -> None:
    """A single array, or the value of an ONNX graph without a name, with the shape of the final output."""
    final = final_tap(expected)
    if final is None or final in found.taps or len(found.unknown) != 1:
        return
    ((name, stored),) = found.unknown.items()
    nameless = name.isdigit() or name in OUTPUTS
    if stored.shape == expected[final] and (nameless or not (found.taps or found.foreign)):
        found.taps[final] = found.unknown.pop(name)
        found.remarks.append(f"The array {name} has the shape of {final} and is taken for it.")


def final_tap(expected: Iterable[str]) -> str | None:
    """The model's final output."""
    return next((tap for tap in ("logits", "head_input") if tap in expected), None)


def _of_another_depth(name: str, expected: Shapes) -> bool:
    """Whether it is a tap of vitref's own in a block that this model does not have."""
    parts = gradients.dots(name).split(".")
    if len(parts) < 2 or parts[0] != "blocks" or not parts[1].partition(":")[0].isdigit():
        return False
    number, colon, ending = parts[1].partition(":")
    return number != "0" and ".".join(["blocks", f"0{colon}{ending}", *parts[2:]]) in expected


def twice(where: str, tap: str, first: str, second: str) -> CheckpointError | ConfigError:
    """The error for two arrays of one tap."""
    return CheckpointError(
        where,
        found=f"two arrays for {tap}: {first} and {second}",
        expected="one",
        remedy='Remove one of the two, or leave it out in a map: {"its name": null}.',
    )
