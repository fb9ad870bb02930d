"""Run and Trace: names, saved values, gradients, taps, and the one place where a kernel is chosen.

A `Run` holds what one pass through a graph shares; a `Trace` is a cursor into it (the run and a
prefix of names). Composites (`vitref.graph`) call `step` on the way forward and `undo`, strictly last
in first out, on the way back. One dotted path names a step, its parameters, their gradients and its
taps. Nothing differentiates itself here: the order of the backward pass is written by hand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vitref.array import NUMPY, Array, Namespace, require_shape
from vitref.errors import ConfigError

Part = Any
"""A primitive, a composite, or a kernel: a module with `forward` and `backward`."""


class Output(NamedTuple):
    """What is known of a step's output after the step: enough to make a zero cotangent of it."""

    shape: tuple[int, ...]
    dtype: Any


class Record(NamedTuple):
    """One step taken and not yet undone."""

    path: str
    part: Part
    saved: Any
    parameters: tuple[str | None, ...]
    inputs: int
    outputs: tuple[str, ...]
    static: dict[str, Any]
    workspace: Any


def build_on_host(build: Callable[..., Array], *arguments: Any) -> Array:
    """A constant of a pass on NumPy in float64: what `build` returns."""
    return build(*arguments)


@dataclass
class Run:
    """What one pass shares.

    parameters   name -> array of `xp`
    kernels      component name -> kernel module (see `vitref.backends.interface`)
    keep         False for inference: nothing is saved, `undo` is impossible
    record       the taps to keep in `taps`: names of outputs, `PATH:dy` for cotangents; None for all
    inject       path -> array that replaces the step's output for the steps after it, `PATH:dy` -> array
                 that replaces its cotangent for the steps before it; asked for when it is needed, so that a
                 mapping may read it from a file
    cotangents   path -> array that is added to the cotangent of the step's output
    workspace    passed on to kernels, as `workspace.at(step, its parameters' names)`; see
                 `vitref.backends.workspace`
    constants    (build, *arguments) -> array: a table built on the host by `build(*arguments)`, as an
                 array of `xp` in the dtype of the pass
    masks        (path, shape, rate) -> array of 0 and 1 of `xp`: what dropout keeps; None in evaluation

    After the pass: `taps`; `gradients`, parameter name -> array; `outputs`, path -> shape and dtype
    of everything that has a name, in the order of the forward pass; `ran`, step -> "kernel",
    "reference", or "reference (why the kernel was not used)".
    """

    parameters: Mapping[str, Array]
    xp: Namespace = field(default_factory=lambda: NUMPY)
    kernels: Mapping[str, Part] = field(default_factory=dict)
    keep: bool = True
    record: frozenset[str] | None = frozenset()
    inject: Mapping[str, Array] = field(default_factory=dict)
    cotangents: Mapping[str, Array] = field(default_factory=dict)
    workspace: Any = None
    constants: Callable[..., Array] = build_on_host
    masks: Callable[[str, tuple[int, ...], float], Array] | None = None

    taps: dict[str, Array] = field(default_factory=dict, init=False)
    gradients: dict[str, Array] = field(default_factory=dict, init=False)
    outputs: dict[str, Output] = field(default_factory=dict, init=False)
    ran: dict[str, str] = field(default_factory=dict, init=False)
    stack: list[Record] = field(default_factory=list, init=False)

    def finish(self) -> None:
        """Raise RuntimeError when a step was taken and not undone."""
        if self.stack:
            raise RuntimeError(f"steps left over: {', '.join(record.path for record in self.stack)}")

    def choose(
        self, stem: str, part: Part, inputs: tuple[Array, ...], static: dict[str, Any]
    ) -> tuple[Part, str]:
        """The kernel for `part` where one exists and may run; else `part`, and why."""
        kernel = self.kernels.get(title(part))
        if kernel is None:
            return part, "reference"
        hidden = [name for name in sorted(self._asked()) if _inside(name, stem, kernel.HIDES)]
        if hidden:
            reason: str | None = f"{hidden[0]} was asked for"
        elif self.record is None and getattr(kernel, "YIELDS", False):
            reason = "everything is recorded"
        else:
            reason = kernel.refuses(*inputs, **static)
        return (part, f"reference ({reason})") if reason else (kernel, "kernel")

    def scratch(self, path: str, names: tuple[str, ...], parameters: tuple[str | None, ...]) -> Any:
        """The workspace of one step: the kernel's names of its parameters, and the model's."""
        if self.workspace is None:
            return None
        present = zip(names, parameters, strict=True)
        return self.workspace.at(path, {name: full for name, full in present if full is not None})

    def _asked(self) -> set[str]:
        """Paths named explicitly: a kernel that hides one of them steps aside."""
        taps = {name.removesuffix(":dy") for name in self.record or () if not name.endswith(":grad")}
        return taps | {name.removesuffix(":dy") for name in self.inject} | set(self.cotangents)

    def tap(self, name: str, value: Array) -> None:
        if self.record is None or name in self.record:
            self.taps[name] = value

    def leave(self, path: str, y: Array) -> Array:
        """Note and record an output; return what the next steps see.

        Raises ConfigError when the given cotangent or replacement has another shape.
        """
        self.outputs[path] = Output(tuple(y.shape), y.dtype)
        if path in self.cotangents:
            self._check_shape("cotangent", path, self.cotangents[path])
        self.tap(path, y)
        return self._replaced(path, path, y)

    def _replaced(self, name: str, path: str, array: Array | None) -> Array | None:
        if name not in self.inject:
            return array
        given = self.inject[name]
        self._check_shape("inject", path, given)
        return given

    def _check_shape(self, what: str, path: str, given: Array) -> None:
        shape = self.outputs[path].shape
        if tuple(given.shape) != shape:
            raise ConfigError(
                f"{what}[{path!r}]",
                found=f"shape {tuple(given.shape)}",
                expected=f"{shape}, the shape of this output",
                remedy="Give an array of that shape, batch axis included.",
            )

    def receive(self, path: str, dy: Array | None) -> Array | None:
        """The cotangent of an output, with the given one added; recorded."""
        if dy is not None:
            require_shape(f"the cotangent of {path}", dy, self.outputs[path].shape)
        dy = total(dy, self.cotangents.get(path))
        if dy is None and (self.record is None or f"{path}:dy" in self.record):
            self.tap(f"{path}:dy", self.zeros(path))
        elif dy is not None:
            self.tap(f"{path}:dy", dy)
        return self._replaced(f"{path}:dy", path, dy)

    def zeros(self, path: str) -> Array:
        return self.xp.zeros(self.outputs[path].shape, dtype=self.outputs[path].dtype)


@dataclass(frozen=True)
class Trace:
    """A cursor: `run`, and the prefix of the names of the steps taken here ("blocks.0.attn.")."""

    run: Run
    prefix: str = ""

    def at(self, name: str) -> "Trace":
        """The cursor of a composite's inside; one named "" has the names of its parent."""
        return Trace(self.run, f"{self.prefix}{name}.") if name else self

    def constant(self, build: Callable[..., Array], *arguments: Any) -> Array:
        """A table that does not depend on any input, built on the host."""
        return self.run.constants(build, *arguments)

    def mask(self, name: str, shape: tuple[int, ...], rate: float) -> Array:
        """The mask of the dropout step of this name. Raises RuntimeError in evaluation."""
        if self.run.masks is None:
            raise RuntimeError(f"{self.prefix}{name} needs masks, and this pass has none")
        return self.run.masks(f"{self.prefix}{name}", tuple(shape), rate)

    def step(self, name: str, part: Part, *inputs: Array, absent: tuple[str, ...] = (), **static: Any) -> Any:
        """Take a step forward: look its parameters up, run kernel or reference, save, record.

        `absent` names parameters that this model does not have; the part receives None for them.
        Returns the part's output (a tuple when it has several). Raises RuntimeError for a path
        that was taken before.
        """
        run, path = self.run, self._path(name, part)
        stem = self.at(name).prefix
        if path in run.ran:
            raise RuntimeError(f"step {path} taken twice")
        chosen, run.ran[path] = run.choose(stem, part, inputs, static)
        workspace: Any = None
        saved: Any = None
        parameters: tuple[str | None, ...] = ()
        if hasattr(chosen, "PARAMS"):
            if chosen is not part and hasattr(chosen, "absent"):
                absent = chosen.absent(**static)
            parameters = tuple(_parameter(stem, p, absent) for p in chosen.PARAMS)
            values = [None if p is None else run.parameters[p] for p in parameters]
            extra: dict[str, Any] = {}
            if chosen is not part:
                workspace = run.scratch(path, chosen.PARAMS, parameters)
                extra = {"ws": workspace, "keep": run.keep}
            y, saved = chosen.forward(*inputs, *values, **static, **extra, xp=run.xp)
        else:
            y = chosen.forward(self.at(name), *inputs, **static)
        outputs = _outputs(stem, name, part)
        y = _each(run.leave, outputs, y)
        if run.keep:
            run.stack.append(Record(path, chosen, saved, parameters, len(inputs), outputs, static, workspace))
        return y

    def undo(self, name: str, dy: Any, add: Array | None = None) -> Any:
        """Undo the last step: return the cotangents of its inputs, and file its parameters' gradients.

        `dy` is the cotangent of the step's output (a tuple when it has several); None stands for
        zero, in and out. `add` is a further cotangent of the step's only input, added to the
        result. Raises RuntimeError when the last step was another one, or `add` is given and the
        step has several inputs; ValueError when a cotangent has not the shape of its output.
        """
        run = self.run
        last = run.stack[-1].path if run.stack else "nothing"
        if last != f"{self.prefix}{name}" and (name or not last.startswith(f"{self.prefix}<")):
            raise RuntimeError(f"undo of {self.prefix}{name} out of order: the last step is {last}")
        step = run.stack.pop()
        if add is not None and step.inputs != 1:
            raise RuntimeError(f"undo of {step.path} with add=: it has {step.inputs} inputs")
        dy = _each(run.receive, step.outputs, dy)
        if not hasattr(step.part, "PARAMS"):
            dx = step.part.backward(self.at(name), dy, **step.static)
            return total(dx, add) if step.inputs == 1 else dx
        if dy is None or (isinstance(dy, tuple) and all(d is None for d in dy)):
            return self._undo_zero(step, add)
        return self._undo_primitive(step, dy, add)

    def _undo_zero(self, step: Record, add: Array | None) -> Any:
        for name in step.parameters:
            if name is not None:
                parameter = self.run.parameters[name]
                self.run.gradients[name] = self.run.xp.zeros(parameter.shape, dtype=parameter.dtype)
        return add if step.inputs == 1 else (None,) * step.inputs

    def _undo_primitive(self, step: Record, dy: Any, add: Array | None) -> Any:
        run = self.run
        if isinstance(dy, tuple):
            dy = tuple(run.zeros(p) if d is None else d for p, d in zip(step.outputs, dy, strict=True))
        extra: dict[str, Any] = {}
        if run.ran[step.path] == "kernel":
            extra["ws"] = step.workspace
            if getattr(step.part, "ADDS", False):
                extra["add"], add = add, None
        grads = tuple(step.part.backward(dy, step.saved, **extra, xp=run.xp))
        dx, dparameters = grads[: step.inputs], grads[step.inputs :]
        for name, gradient in zip(step.parameters, dparameters, strict=True):
            if name is not None:
                run.gradients[name] = gradient
        return total(dx[0], add) if step.inputs == 1 else dx

    def _path(self, name: str, part: Part) -> str:
        return f"{self.prefix}{name}" if name else f"{self.prefix}<{title(part)}>"


def title(part: Part) -> str:
    """The name under which a component is known: that of its module."""
    return str(part.__name__).rpartition(".")[2]


def total(a: Array | None, b: Array | None) -> Array | None:
    """a + b, where None is zero."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _parameter(stem: str, name: str, absent: tuple[str, ...]) -> str | None:
    if name in absent:
        return None
    return f"{stem}{name}" if name else stem.removesuffix(".")


def _outputs(stem: str, name: str, part: Part) -> tuple[str, ...]:
    """The paths of a step's outputs; none for a composite without a name of its own."""
    several: tuple[str, ...] = getattr(part, "OUTPUTS", ())
    if several:
        return tuple(f"{stem}{output}" for output in several)
    return (stem.removesuffix("."),) if name else ()


def _each(function: Any, paths: tuple[str, ...], values: Any) -> Any:
    """`function(path, value)` for one output or several; unnamed outputs pass unchanged."""
    if not paths:
        return values
    if len(paths) == 1:
        return function(paths[0], values)
    several = (None,) * len(paths) if values is None else values
    return tuple(function(path, value) for path, value in zip(paths, several, strict=True))


def _inside(name: str, stem: str, hides: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{stem}{hidden}.") for hidden in hides)
