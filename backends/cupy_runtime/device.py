"""A GPU by CuPy: memory, transfers, kernels and products on one stream of its own.

`cupy` is handed in, so that everything here runs on a stand-in where there is no GPU.
"""

import importlib
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import ml_dtypes  # noqa: F401  gives NumPy the dtype "bfloat16" by name

from vitref.array import VOCABULARY, Array, HostArray, Namespace
from vitref.backends.cupy_kernels import unfold
from vitref.backends.cupy_kernels.device import SUFFIX, Dim
from vitref.backends.cupy_runtime import nvrtc
from vitref.backends.cupy_runtime.products import Products
from vitref.backends.cupy_runtime.staging import Staging
from vitref.errors import BackendError

DLPACK_MEMORY = {1: "host memory", 2: "CUDA memory", 3: "pinned host memory", 13: "CUDA managed memory"}
"""DLDeviceType -> what it is; what CuPy can use in place is 2 and 13."""

DEFAULT_SHARED = 48 * 1024
"""Bytes of dynamic shared memory that a kernel may have without asking."""


class CupyDevice:
    """The device of `vitref.backends.cupy_kernels.device.Device`.

    name         of the GPU
    capability   as in 90 for 9.0
    stream       on which every pass runs
    """

    def __init__(self, cupy: Any, index: int, *, tune: bool) -> None:
        self.cupy, self.index = cupy, index
        self.cuda_device = cupy.cuda.Device(index)
        properties = cupy.cuda.runtime.getDeviceProperties(index)
        self.name: str = properties["name"].decode()
        self.capability = int(properties["major"]) * 10 + int(properties["minor"])
        self.shared_limit = int(properties["sharedMemPerBlockOptin"])
        with self.cuda_device:
            self.stream = cupy.cuda.Stream(non_blocking=True)
            self.copies = cupy.cuda.Stream(non_blocking=True)
            self.tape = cupy.cuda.Stream(non_blocking=True)
        self.staging = Staging(cupy, index, (self.stream, cupy.cuda.Stream.null))
        self.products = Products(self, tune)
        self.product = self.products.product
        self.xp = self._namespace()
        self._kernels: dict[tuple[str, str], tuple[Any, int]] = {}
        self._modules: dict[str, Any] = {}
        self._here = threading.local()
        self._taping = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.cupy.empty(shape, dtype)

    # Kernels

    def launch(
        self, source: str, kernel: str, grid: Dim, block: Dim, *arguments: Any, shared: int = 0
    ) -> None:
        if 0 in grid:
            return
        function, allowed = self._kernels.get((source, kernel)) or self._kernel(source, kernel)
        if shared > allowed:  # once and for all: CuPy hands the same function to every device object
            function.max_dynamic_shared_size_bytes = self.shared_limit
            self._kernels[source, kernel] = function, self.shared_limit
        function(grid, block, arguments, shared_mem=shared)

    def _kernel(self, source: str, kernel: str) -> tuple[Any, int]:
        if source not in self._modules:
            self._modules[source] = self._module(source)
        function = self._modules[source].get_function(kernel)
        self._kernels[source, kernel] = function, DEFAULT_SHARED
        return self._kernels[source, kernel]

    def _module(self, source: str) -> Any:
        path = nvrtc.compiled(self.cupy.cuda.nvrtc, source, self.capability)
        return self.cupy.RawModule(path=str(path))

    # Passes

    @property
    def recording(self) -> bool:
        """Whether this thread records a CUDA graph."""
        return self._kept is not None

    @property
    def _kept(self) -> list[Array] | None:
        return getattr(self._here, "kept", None)

    def record(self, compute: Callable[[], Array]) -> tuple[Any, list[Array]]:
        """A CUDA graph of what `compute` does on this device, and the arrays that it reads and writes.

        Only inside a pass. The first of the arrays is what `compute` returns. What it allocates comes
        from memory that nobody else is given while one of these arrays lives. Raises whatever cannot be
        recorded, with the stream as it was.
        """
        pool = self.cupy.cuda.MemoryPool()
        kept: list[Array] = []
        self.products.workspace(self.tape)
        self._here.kept = kept
        try:
            with self._taping, self.cupy.cuda.using_allocator(pool.malloc), self.tape:
                self.tape.begin_capture()
                try:
                    y = compute()
                except BaseException:
                    with suppress(Exception):
                        self.tape.end_capture()
                    raise
                graph = self.tape.end_capture()
        finally:
            self._here.kept = None
        return graph, [y, *kept, pool]

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Run what is inside on this device's stream, in order with the caller's stream.

        What the caller's current stream was given before is done before, and what it is given after,
        after: arrays may come from there and go there. Raises BackendError when memory runs out.
        """
        if getattr(self._here, "inside", False):
            yield
            return
        with self.cuda_device:
            outer = self.cupy.cuda.get_current_stream()
            self._follow(self.stream, outer)
            self._here.inside = True
            try:
                with self.stream, self.memory_errors():
                    yield
            finally:
                self._here.inside = False
                self._follow(outer, self.stream)

    def _follow(self, later: Any, earlier: Any) -> None:
        """What `later` is given from now on waits for what `earlier` has been given until now."""
        if later.ptr != earlier.ptr:
            later.wait_event(earlier.record(self.cupy.cuda.Event(disable_timing=True)))

    @contextmanager
    def memory_errors(self) -> Iterator[None]:
        """Turn a lack of memory into a BackendError, with the arrays of the failed pass let go."""
        pool = self.cupy.get_default_memory_pool()
        before, failed = pool.used_bytes(), None
        try:
            yield
        except self.cupy.cuda.memory.OutOfMemoryError as error:
            failed = self._out_of_memory(str(error), before, pool.used_bytes())
            traceback.clear_frames(error.__traceback__)
            error.__traceback__ = None
        if failed is not None:
            pool.free_all_blocks()
            raise failed

    def _out_of_memory(self, message: str, before: int, used: int) -> BackendError:
        free, total = self.cuda_device.mem_info
        share = (free + used - before) / max(1, used - before + _asked(message))
        error = BackendError(
            f"backend cupy, {self.name}",
            found=f"{message} {_gib(used - before)} in use by this call, {_gib(free)} of {_gib(total)} free",
            expected="more free memory, or a smaller batch",
            remedy=f"Take a batch of less than {share:.0%} of this one, or free memory on the device.",
        )
        error.share = share
        return error

    # Transfers

    def from_host(self, array: HostArray, dtype: str) -> Array:
        """A copy on the device. Outside a pass, and while a graph is recorded, it is complete on return."""
        if getattr(self._here, "inside", False) and not self.recording:
            return self.cupy.asarray(array, order="C").astype(dtype, copy=False)
        with self.cuda_device, self.copies, self.memory_errors():
            target = self.staging.empty(array.shape, dtype, self.copies)
            target[...] = self.cupy.asarray(array)
            self.copies.synchronize()
        if self._kept is not None:
            self._kept.append(target)
        return target

    def pixels(self, levels: HostArray, table: HostArray, dtype: str) -> Array:
        """uint8 (N, H, W, C) and table (C, 256) -> (N, C, H, W), as `Backend.pixels`.

        An image is one patch of its own size: the kernel that cuts bytes into patches does it.
        """
        n, height, width, c = levels.shape
        bytes_here, values = self.from_host(levels, "uint8"), self.from_host(table.astype(dtype), dtype)
        with self.scope():
            if dtype not in SUFFIX:
                planes = [values[i][bytes_here[..., i]] for i in range(c)]
                return self.cupy.stack(planes, axis=1)
            rows = unfold.from_bytes(bytes_here, values, patch_size=(height, width), device=self)
            return self.cupy.reshape(rows, (n, c, height, width))

    def to_host(self, array: Array) -> HostArray:
        with self.scope():
            host: HostArray = array.get()
        return host

    def from_dlpack(self, array: Any) -> Array:
        """An array in the same memory. Raises BackendError unless that is memory of this device."""
        kind, index = array.__dlpack_device__()
        if int(kind) not in (2, 13) or int(index) != self.index:
            raise self._foreign(f"{DLPACK_MEMORY.get(int(kind), f'memory of kind {int(kind)}')} {int(index)}")
        try:
            with self.scope():
                return self.cupy.from_dlpack(array)
        except (BufferError, TypeError, ValueError, RuntimeError) as error:
            raise self._foreign(f"one that CuPy cannot take: {error}") from error

    def _foreign(self, found: str) -> BackendError:
        return BackendError(
            "array",
            found=found,
            expected=f"one in the memory of CUDA device {self.index}",
            remedy='Move it there, or give vitref.backends.get("cupy", device=...) the device that it is on.',
        )

    # The array library

    def _namespace(self) -> Namespace:
        functions = {name: getattr(self.cupy, name) for name in VOCABULARY if name not in ("erf", "matmul")}
        erf = importlib.import_module("cupyx.scipy.special").erf
        return SimpleNamespace(**functions, erf=erf, matmul=self._matmul)

    def _matmul(self, a: Array, b: Array) -> Array:
        """Matrices by cuBLASLt without TF32, whatever CuPy's own setting is; stacks of them by CuPy."""
        if a.ndim != 2 or b.ndim != 2 or 0 in (*a.shape, *b.shape):
            return self.cupy.matmul(a, b)
        operands, transposed = zip(*map(_plain, (a, b)), strict=True)
        return self.product(*operands, math="strict", transpose_a=transposed[0], transpose_b=transposed[1])


def _plain(x: Array) -> tuple[Array, bool]:
    """A matrix, or the transpose that it is a view of, and which of the two."""
    return (x.T, True) if not x.flags.c_contiguous and x.T.flags.c_contiguous else (x, False)


def _asked(message: str) -> int:
    """How many bytes an allocation asked for, by the text of CuPy's error."""
    digits = "".join(c for c in message.partition(" bytes")[0] if c.isdigit())
    return int(digits or 0)


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
