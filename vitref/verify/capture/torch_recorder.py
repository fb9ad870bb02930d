"""What a torch module computes on the way: seen by hooks, and removed with them.

Seen are the outputs of all modules, the inputs of those that stand behind a step without a module of its own
(see `naming`), and inside modules the calls of `torch_functions`. Of a model of unknown names also what
enters its layer normalisations, where that is new: the residual stream. A tensor that has a gradient gets a
hook for it, so that its cotangent is recorded in the backward pass. Everything is copied to the sink at once:
what a module later writes in place changes nothing.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from vitref.array import HostArray
from vitref.verify.capture.hosts import from_torch
from vitref.verify.capture.naming import OUTPUT, Change, Naming, as_it_is
from vitref.verify.capture.sink import Progress, Sink
from vitref.verify.capture.torch_functions import watched


class Recorder:
    """Puts what it sees into `sink`, under the names that `naming` gives.

    After the forward pass `tensors` holds those of the taps named in `keep`, for cotangents to be given to.
    """

    def __init__(
        self, torch: Any, sink: Sink, naming: Naming, keep: frozenset[str], progress: Progress | None
    ) -> None:
        self.torch, self.sink, self.naming, self.keep = torch, sink, naming, keep
        self.progress = progress
        self.tensors: dict[str, Any] = {}
        self.stack: list[tuple[str, Any]] = []
        self.calls: Counter[str] = Counter()
        self.handles: list[Any] = []
        self.seen: dict[int, tuple[Any, int]] = {}
        self.left_out: dict[str, str] = {}

    @contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        """Hooks on every module of the model while the block runs."""
        handles = []
        try:
            for path, module in model.named_modules():
                handles.append(module.register_forward_pre_hook(self._enter(path), with_kwargs=True))
                handles.append(module.register_forward_hook(self._leave(path)))
            with watched(self.torch, self._inside):
                yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Hooks on tensors are removed when the block ends."""
        try:
            yield
        finally:
            for handle in self.handles:
                handle.remove()
            self.handles.clear()
            self.tensors.clear()

    def see(self, name: str, tensor: Any) -> None:
        """Record a tensor and, in the backward pass, its cotangent."""
        numbered = self._numbered(name)
        if tensor.dtype not in self._floats():
            self.left_out[numbered] = f"of dtype {str(tensor.dtype).removeprefix('torch.')}"
            return
        change = self.naming.place(numbered)
        if change is None:
            self.left_out[numbered] = "no step of the model"
        elif change.tap not in self.sink:
            self.take(change, tensor)

    def take(self, change: Change, tensor: Any) -> None:
        self.put(change.tap, change(from_torch(tensor)))
        self.seen[id(tensor)] = weakref.ref(tensor), tensor._version
        if change.tap in self.keep:
            self.tensors[change.tap] = tensor
        if tensor.requires_grad:
            self.handles.append(tensor.register_hook(self._cotangent(change)))

    def put(self, tap: str, array: HostArray) -> None:
        self.sink.put(tap, array)
        if self.progress:
            self.progress(tap)

    def _cotangent(self, change: Change) -> Callable[[Any], None]:
        def hook(gradient: Any) -> None:
            name = f"{change.tap}:dy"
            if gradient is not None and name not in self.sink:
                self.put(name, change(from_torch(gradient)))

        return hook

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            self.stack.append((path, module))
            for tensor in [x for x in (*args, *kwargs.values()) if self.torch.is_tensor(x)][:1]:
                change = self._entering(path, module, tensor)
                if change is not None and tensor.dtype in self._floats() and change.tap not in self.sink:
                    self.take(change, tensor)

        return hook

    def _entering(self, path: str, module: Any, tensor: Any) -> Change | None:
        found = self.naming.entering(path)
        normalises = isinstance(module, self.torch.nn.LayerNorm) and self.naming.library is None
        return (
            Change(f"{path}.input", as_it_is) if not found and normalises and self._is_new(tensor) else found
        )

    def _is_new(self, tensor: Any) -> bool:
        """Whether this tensor was not taken yet, as it is now."""
        reference, version = self.seen.get(id(tensor), (None, 0))
        return reference is None or reference() is not tensor or version != tensor._version

    def _leave(self, path: str) -> Callable[..., None]:
        def hook(module: Any, args: tuple[Any, ...], output: Any) -> None:
            self.stack.pop()
            for suffix, tensor in tensors_of(self.torch, output):
                self.see((path or OUTPUT) + suffix, tensor)

        return hook

    def _inside(self, name: str, tensor: Any) -> None:
        """A function was called by a module that does more than just that."""
        path, module = self.stack[-1] if self.stack else ("", None)
        if module is not None and not (module._modules or module._parameters):
            if name != "scores" or len(self.stack) == 1:  # what such a module returns is seen anyway
                return
            path = self.stack[-2][0]
        self.see(f"{path}.{name}" if path else name, tensor)

    def _numbered(self, name: str) -> str:
        self.calls[name] += 1
        return name if self.calls[name] == 1 else f"{name}#{self.calls[name] - 1}"

    def _floats(self) -> tuple[Any, ...]:
        torch = self.torch
        return torch.float64, torch.float32, torch.float16, torch.bfloat16


def tensors_of(torch: Any, output: Any, suffix: str = "") -> Iterator[tuple[str, Any]]:
    """(suffix of the name, tensor) of every tensor in an output: ".0", ".logits", ".0.1"."""
    if torch.is_tensor(output):
        yield suffix, output
        return
    if isinstance(output, Mapping):
        items: Any = output.items()
    elif isinstance(output, (tuple, list)):
        items = enumerate(output)
    elif is_dataclass(output) and not isinstance(output, type):
        items = ((field.name, getattr(output, field.name)) for field in fields(output))
    else:
        items = ()
    for key, value in items:
        yield from tensors_of(torch, value, f"{suffix}.{key}")
