"""The table of steps of a model: which step makes what, of what, and in which link of the chain.

It is read off a pass over a batch of no images, so that it can say nothing else than the graph does.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from vitref.array import Array, Namespace
from vitref.config import Config
from vitref.graph import vit
from vitref.run import Run, Trace
from vitref.verify.numerics import primitives

COMPOSITE = "composite"
"""The component of a step that passes on what the last step inside it returns."""


class Step(NamedTuple):
    """path        its name; "" steps have that of their first output
    component   "layer_norm", "linear", ..., or `COMPOSITE`
    inputs      outputs of other steps; outputs: its own; parameters: canonical names
    place       the link of the chain that it belongs to
    key         its path in a `vitref.run.Run`, where a step without a name has one in brackets
    """

    path: str
    component: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[str, ...]
    place: int
    key: str


@dataclass(frozen=True, eq=False)
class Steps:
    """steps   in the order of the forward pass
    shapes  output -> its shape, for `images` images
    """

    steps: tuple[Step, ...]
    shapes: Mapping[str, tuple[int, ...]]
    parameters: Mapping[str, tuple[int, ...]]
    images: int

    @cached_property
    def makes(self) -> dict[str, Step]:
        """Output or parameter -> the step that makes, or owns, it."""
        made = {output: step for step in self.steps for output in step.outputs}
        return made | {name: step for step in self.steps for name in step.parameters}

    @cached_property
    def uses(self) -> dict[str, list[Step]]:
        """Output -> the steps that take it."""
        users: dict[str, list[Step]] = {name: [] for name in self.shapes}
        for step in self.steps:
            for name in step.inputs:
                users[name].append(step)
        return users

    @cached_property
    def expected(self) -> dict[str, tuple[int, ...]]:
        """Every tap there is -> its shape."""
        cotangents = {f"{name}:dy": shape for name, shape in self.shapes.items()}
        gradients = {f"{name}:grad": shape for name, shape in self.parameters.items()}
        return {**self.shapes, **cotangents, **gradients}

    def outputs_of(self, place: int) -> list[str]:
        return [output for step in self.steps if step.place == place for output in step.outputs]

    def leaving(self, place: int) -> str:
        """The output that a link hands to the next one."""
        return self._last[place]

    @cached_property
    def _last(self) -> dict[int, str]:
        return {step.place: step.outputs[0] for step in self.steps}

    def place(self, tap: str) -> int:
        """The link in which a tap is computed: the cotangent of what leaves a link, in the next one."""
        place = self.makes[bare(tap)].place
        if tap == f"{self.leaving(place)}:dy" and place + 1 in self._last:
            return place + 1
        return place

    def span(self, tap: str, given: Iterable[str]) -> list[Step]:
        """The steps that may be to blame for a tap, when everything `given` is taken as it is."""
        name, known = bare(tap), set(given)
        if tap.endswith(":dy"):
            return self._ordered(self._onward(self.uses[name], known))
        if tap.endswith(":grad"):
            owner = self.makes[name]
            open_ = [output for output in owner.outputs if f"{output}:dy" not in known]
            users = [user for output in open_ for user in self.uses[output]]
            return self._ordered([owner, *self._onward(users, known)])
        return self._ordered(self._back([self.makes[name]], known))

    def _back(self, reached: list[Step], given: set[str]) -> list[Step]:
        return _closure(reached, lambda step: [self.makes[n] for n in step.inputs if n not in given])

    def _onward(self, reached: list[Step], given: set[str]) -> list[Step]:
        def users(step: Step) -> list[Step]:
            open_ = [name for name in step.outputs if f"{name}:dy" not in given]
            return [user for name in open_ for user in self.uses[name]]

        return _closure(reached, users)

    def _ordered(self, found: Iterable[Step]) -> list[Step]:
        """Without composites, unless nothing else is there: what they return was made inside."""
        paths = {step.path for step in found}
        steps = [step for step in self.steps if step.path in paths]
        return [step for step in steps if step.component in primitives()] or steps


def _closure(start: Iterable[Step], onward: Callable[[Step], list[Step]]) -> list[Step]:
    """Every step that can be reached."""
    waiting, found = list(start), {}
    while waiting:
        step = waiting.pop()
        if step.path not in found:
            found[step.path] = step
            waiting += onward(step)
    return list(found.values())


def bare(tap: str) -> str:
    """The output or parameter that a tap is of."""
    return tap.removesuffix(":dy").removesuffix(":grad")


def table(config: Config, images: int, loss: str | None = None) -> Steps:
    """The steps of a model for a batch of so many images; `loss` names what ends it, if anything does."""
    log = _Log()
    shapes = {name: tuple(shape) for name, shape in config.parameter_shapes().items()}
    kernels = {name: log.kernel(name, part) for name, part in primitives().items()}
    x: Any = np.zeros((0, config.channels, *config.image_size))
    log.names[id(x)] = "(pixels)"
    for log.place, link in enumerate(vit.chain(config, None)):
        run = Run(_Zeros(shapes), kernels=kernels, keep=False, record=None, workspace=log)
        log.run = run
        x = Trace(run).step(link.name, link.part, x, **link.static)
        log.finish()
    steps = log.steps
    sizes = {name: (images, *shape[1:]) for name, shape in log.shapes.items()}
    if loss is not None:
        steps.append(Step("loss", loss, (steps[-1].outputs[0],), ("loss",), (), log.place + 1, "loss"))
        sizes["loss"] = ()
    return Steps(tuple(steps), sizes, shapes, images)


class _Zeros(Mapping[str, Array]):
    """Parameters of the right shapes that take no memory."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes

    def __getitem__(self, name: str) -> Array:
        return np.broadcast_to(0.0, self._shapes[name])

    def __iter__(self) -> Any:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


class _Log:
    """Notes what every primitive takes and returns; arrays are told apart by their identity."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.names: dict[int, str] = {}
        self.alive: list[Array] = []
        self.place = 0
        self.run: Run | None = None
        self.parameters: dict[str, tuple[str, ...]] = {}

    def at(self, path: str, parameters: Mapping[str, str]) -> str:
        self.parameters[path] = tuple(parameters.values())
        return path

    def kernel(self, name: str, part: Any) -> Any:
        def forward(*arrays: Array, ws: str, keep: bool, xp: Namespace, **static: Any) -> Any:
            given = tuple(self.names[id(a)] for a in arrays if id(a) in self.names)
            with np.errstate(all="ignore"):
                y, _ = part.forward(*arrays, **static, xp=xp)
            several = y if isinstance(y, tuple) else (y,)
            own = tuple(np.copy(array) for array in several)
            stem = ws.rpartition("<")[0] if "<" in ws else None
            outputs = tuple(f"{stem}{o}" for o in part.OUTPUTS) if stem is not None else (ws,)
            for array, output in zip(own, outputs, strict=True):
                self._note(array, output)
            inputs = tuple(n for n in given if n != "(pixels)")
            parameters = self.parameters[ws]
            self.steps.append(Step(outputs[0], name, inputs, outputs, parameters, self.place, ws))
            return (own if isinstance(y, tuple) else own[0]), None

        return SimpleNamespace(
            __name__=name,
            HIDES=(),
            ADDS=False,
            PARAMS=part.PARAMS,
            forward=forward,
            refuses=lambda *a, **s: None,
        )

    def _note(self, array: Array, output: str) -> None:
        self.names[id(array)] = output
        self.shapes[output] = tuple(array.shape)
        self.alive.append(array)

    def finish(self) -> None:
        """Composites return what their last step does; the steps after them take it from the composite."""
        assert self.run is not None
        for name, array in self.run.taps.items():
            if name not in self.shapes:
                inner = self.names[id(array)]
                self._pass_on(inner, name)
                self.steps.append(Step(name, COMPOSITE, (inner,), (name,), (), self.place, name))
                self._note(array, name)
        order = {name: number for number, name in enumerate(self.run.taps)}
        done = [step for step in self.steps if step.place < self.place]
        own = [step for step in self.steps if step.place == self.place]
        self.steps = done + sorted(own, key=lambda step: order[step.outputs[0]])

    def _pass_on(self, inner: str, composite: str) -> None:
        """Whoever takes `inner` outside the composite takes the composite's output."""
        for number, step in enumerate(self.steps):
            if inner in step.inputs and not step.path.startswith(f"{composite}."):
                inputs = tuple(composite if name == inner else name for name in step.inputs)
                self.steps[number] = step._replace(inputs=inputs)
