"""Matrix products on the GPU: which cuBLASLt algorithm runs, its workspace, and the three ways of float32."""

import json
import threading
from dataclasses import astuple
from math import gcd, inf
from typing import Any

from vitref.array import Array
from vitref.backends.cupy_kernels.split import split
from vitref.backends.cupy_runtime import cublaslt, user_cache
from vitref.backends.cupy_runtime.cublaslt import Algorithm, Plan, Product
from vitref.errors import BackendError

WARM_UPS, REPETITIONS = 1, 3
"""Of a candidate before its time is taken, and while it is."""

COMPUTE = {"strict": "float32", "tf32": "tf32", "fp32x3": "tf32"}
"""How float32 matrices are multiplied -> how cuBLASLt does it."""


class Products:
    """The products of one device. `tune`: whether candidates are timed, or cuBLASLt's first one is taken.

    A choice is made once for a kind of product and kept in the user's cache: later runs take the same
    algorithm and give the same bits.
    """

    def __init__(self, device: Any, tune: bool) -> None:
        self._device, self._cupy, self._tune = device, device.cupy, tune
        self._handle: Any = None
        self._chosen: dict[Product, tuple[Plan, Algorithm] | None] = {}
        self._workspaces: dict[int, Array] = {}
        self.version = cublaslt.version()
        self._file = f"products-{self.version}-{device.name.replace(' ', '-')}.json"
        self._choosing = threading.RLock()

    def product(
        self,
        a: Array,
        b: Array,
        *,
        math: str,
        transpose_a: bool = False,
        transpose_b: bool = False,
        bias: Array | None = None,
        residual: Array | None = None,
        out: Array | None = None,
        dtype: Any = None,
    ) -> Array:
        """As `Device.product`. Operands that do not lie in row order are copied."""
        compute = COMPUTE[math] if str(a.dtype) == "float32" else "float32"
        if compute == "tf32" and math == "fp32x3":
            a = split(self._rows(a), rows_summed=transpose_a, right=False, device=self._device)
            b = split(self._rows(b), rows_summed=not transpose_b, right=True, device=self._device)
        if str(a.dtype) == "float64":
            compute = "float64"
        a, b, bias, residual = (None if x is None else self._rows(x) for x in (a, b, bias, residual))
        m, k = a.shape[::-1] if transpose_a else a.shape
        n = b.shape[0] if transpose_b else b.shape[1]
        y = self._cupy.empty((m, n), a.dtype if dtype is None else dtype) if out is None else out
        pointers = tuple(256 if x is None else gcd(x.data.ptr, 256) for x in (a, b, residual, y, bias))
        names = (str(a.dtype), str(y.dtype), compute)
        extras = bias is not None, residual is not None
        kind = Product(m, n, k, transpose_a, transpose_b, *names, *extras, pointers)  # type: ignore[arg-type]
        self._run(kind, a, b, bias, residual, y)
        return y

    def workspace(self, stream: Any) -> Array:
        """The memory that algorithms on this stream may use."""
        if stream.ptr not in self._workspaces:
            self._workspaces[stream.ptr] = self._cupy.empty(cublaslt.WORKSPACE, "uint8")
        return self._workspaces[stream.ptr]

    def _run(self, kind: Product, a: Array, b: Array, bias: Any, residual: Any, out: Array) -> None:
        """`out` gets op(a) @ op(b) [+ bias] [+ residual]."""
        addresses = tuple(None if x is None else x.data.ptr for x in (a, b, bias, residual, out))
        stream = self._cupy.cuda.get_current_stream()
        with self._choosing:
            if kind not in self._chosen:
                self._chosen[kind] = self._choose(kind, addresses, stream)
        chosen = self._chosen[kind]
        if chosen is None:
            out[...] = self._by_parts(kind, a, b, bias, residual)
        else:
            self._multiply(*chosen, addresses, stream)

    def _multiply(self, plan: Plan, algorithm: Algorithm, addresses: Any, stream: Any) -> None:
        workspace = self.workspace(stream).data.ptr
        cublaslt.multiply(self._handle, plan, algorithm, addresses, workspace, stream.ptr)

    def _choose(self, kind: Product, addresses: Any, stream: Any) -> tuple[Plan, Algorithm] | None:
        """What to run for this kind of product; None when cuBLASLt has nothing."""
        if self._handle is None:
            self._handle = cublaslt.create_handle()
        plan, key = cublaslt.plan(kind), repr(astuple(kind))
        kept = _algorithm(_choices(user_cache.read(self._file)).get(key)) if self._tune else None
        if kept is not None:
            return plan, kept
        found = cublaslt.candidates(self._handle, plan, addresses[2])
        if not found:
            return None
        if not self._tune or len(found) == 1 or self._device.recording:
            return plan, found[0]
        times = {i: self._milliseconds(plan, one, addresses, stream) for i, one in enumerate(found)}
        best = found[min(times, key=lambda i: times[i])]
        self._keep(key, best)
        return plan, best

    def _milliseconds(self, plan: Plan, algorithm: Algorithm, addresses: Any, stream: Any) -> float:
        """How long it takes; infinitely long when it cannot run after all."""
        try:
            return self._timed(plan, algorithm, addresses, stream)
        except BackendError:
            return inf

    def _timed(self, plan: Plan, algorithm: Algorithm, addresses: Any, stream: Any) -> float:
        for _ in range(WARM_UPS):
            self._multiply(plan, algorithm, addresses, stream)
        begin, end = self._cupy.cuda.Event(), self._cupy.cuda.Event()
        begin.record(stream)
        for _ in range(REPETITIONS):
            self._multiply(plan, algorithm, addresses, stream)
        end.record(stream)
        end.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(begin, end))

    def _keep(self, key: str, algorithm: Algorithm) -> None:
        """Add a choice to the file, beside what others have added meanwhile."""
        kept = {**_choices(user_cache.read(self._file)), key: cublaslt.to_text(algorithm)}
        user_cache.write(self._file, json.dumps(kept, indent=0).encode())

    def _by_parts(self, kind: Product, a: Array, b: Array, bias: Any, residual: Any) -> Array:
        """By CuPy's own product, in float32 at least: for what cuBLASLt does not take."""
        wide = "float64" if kind.compute == "float64" else "float32"
        left, right = (x.astype(wide, copy=False) for x in (a, b))
        y = (left.T if kind.transpose_a else left) @ (right.T if kind.transpose_b else right)
        for term in (bias, residual):
            y = y if term is None else y + term.astype(wide, copy=False)
        return y

    def _rows(self, x: Array) -> Array:
        return x if x.flags.c_contiguous else self._cupy.ascontiguousarray(x)


def _choices(content: bytes | None) -> dict[str, str]:
    """What the file holds; nothing when it is damaged."""
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _algorithm(text: str | None) -> Algorithm | None:
    try:
        return None if text is None else cublaslt.from_text(text)
    except ValueError:
        return None
