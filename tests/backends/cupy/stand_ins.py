"""CuPy and cuBLASLt as far as the backend uses them, on NumPy arrays: for machines without a GPU.

Streams note who waits for whom. Work goes through `Fake.do`: at once, or, while a stream is recorded,
into the graph, which does it when it is started.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

from vitref.array import VOCABULARY, HostArray


class Array(np.ndarray[Any, Any]):
    """A NumPy array with what CuPy's have besides."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)

    def get(self) -> HostArray:
        return np.array(self)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> "Array":
        """Never a NumPy scalar: CuPy has arrays without axes."""
        return as_array(array)


def as_array(x: Any) -> Array:
    return np.asarray(x).view(Array)


def of_arrays(function: Callable[..., Any]) -> Callable[..., Array]:
    return lambda *arguments, **options: as_array(function(*arguments, **options))


class Event:
    def __init__(self, disable_timing: bool = False) -> None:
        self.stream: Stream | None = None
        self.waited = False

    def record(self, stream: "Stream") -> None:
        self.stream = stream

    def synchronize(self) -> None:
        self.waited = True


class Stream:
    """`waits`: the streams whose events it was told to wait for; `tape`: what is recorded."""

    null: "Stream"

    def __init__(self, fake: "Fake", non_blocking: bool = False) -> None:
        self._fake, self.ptr = fake, len(fake.streams) * 16
        self.waits: list[Stream] = []
        self.tape: list[Callable[[], Any]] | None = None
        self.synchronized = 0
        fake.streams.append(self)

    def record(self, event: Event) -> Event:
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        assert event.stream is not None
        self.waits.append(event.stream)

    def synchronize(self) -> None:
        self.synchronized += 1

    def begin_capture(self) -> None:
        self.tape = []

    def end_capture(self) -> Any:
        steps, self.tape = self.tape, None
        assert steps is not None
        return SimpleNamespace(launch=lambda stream: [step() for step in steps])

    def __enter__(self) -> "Stream":
        self._fake.current.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        self._fake.current.pop()


class OutOfMemoryError(MemoryError):
    pass


class Fake:
    """What stands for the module `cupy`, as `module`. `free`: bytes left on the device."""

    def __init__(self, *, devices: int = 1, driver: int = 13000, failure: Exception | None = None) -> None:
        self.streams: list[Stream] = []
        self.free, self.used = 2**30, 0
        self.freed_all = 0
        self.pools: list[Any] = []
        self._local = threading.local()
        stream = type("Stream", (Stream,), {"__init__": lambda s, **k: Stream.__init__(s, self, **k)})
        stream.null = stream()  # type: ignore[attr-defined]
        self.failure, self.devices = failure, devices
        pool = SimpleNamespace(used_bytes=lambda: self.used, free_all_blocks=self._free_all)
        functions: dict[str, Any] = {n: of_arrays(getattr(np, n)) for n in VOCABULARY if n != "erf"}
        self.module = SimpleNamespace(
            **functions,
            __version__="14.2.0",
            empty=self.empty,
            asarray=lambda x, order="C": as_array(np.array(x, order=order)),
            ascontiguousarray=of_arrays(np.ascontiguousarray),
            ndarray=lambda shape, dtype, memptr: self.empty(shape, dtype, owner=memptr),
            get_default_memory_pool=lambda: pool,
            cuda=SimpleNamespace(
                Stream=stream,
                Event=Event,
                Device=Device,
                MemoryPool=self._pool,
                memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
                UnownedMemory=lambda ptr, size, owner, device: SimpleNamespace(owner=owner),
                MemoryPointer=lambda memory, offset: memory,
                alloc=lambda size: SimpleNamespace(ptr=id(object())),
                using_allocator=self._using,
                get_current_stream=lambda: self.current[-1],
                get_elapsed_time=lambda begin, end: 1.0,
                runtime=SimpleNamespace(
                    getDeviceCount=self._count,
                    getDeviceProperties=lambda i: {
                        "name": b"Fake GPU",
                        "major": 9,
                        "minor": 0,
                        "sharedMemPerBlockOptin": 232448,
                    },
                    driverGetVersion=lambda: driver,
                    runtimeGetVersion=lambda: 13020,
                ),
            ),
        )

    @property
    def current(self) -> list[Stream]:
        """The streams that this thread has made current, the innermost last."""
        if not hasattr(self._local, "current"):
            self._local.current = [self.streams[0]]
        current: list[Stream] = self._local.current
        return current

    def do(self, step: Callable[[], Any]) -> None:
        tape = self.current[-1].tape
        step() if tape is None else tape.append(step)

    def empty(self, shape: Any, dtype: Any, owner: Any = None) -> Array:
        made = np.empty(shape, dtype)
        if made.nbytes > self.free:
            raise OutOfMemoryError(f"Out of memory allocating {made.nbytes:,} bytes (allocated so far: 1,0).")
        self.used += made.nbytes
        array = made.view(Array)
        array.owner = owner  # type: ignore[attr-defined]
        return array

    def _count(self) -> int:
        if self.failure is not None:
            raise self.failure
        return self.devices

    def _free_all(self) -> None:
        self.freed_all += 1
        self.used = 0

    def _pool(self) -> Any:
        self.pools.append(SimpleNamespace(malloc=None))
        return self.pools[-1]

    @contextmanager
    def _using(self, allocator: Any) -> Iterator[None]:
        yield


class Device:
    def __init__(self, index: int) -> None:
        self.mem_info = (2**30, 2**31)

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class FakeCublasLt:
    """cuBLASLt by its documentation: matrices in columns, D = op(A) op(B) + beta C + bias of each row.

    `scarce`: there is no algorithm for products with bias or residual.
    """

    def __init__(self, scarce: bool = False) -> None:
        self.things: list[dict[Any, Any]] = [{}]
        self.scarce, self.ran = scarce, 0

    def _new(self, reference: Any, **content: Any) -> int:
        self.things.append(content)
        reference._obj.value = len(self.things) - 1
        return 0

    def cublasLtGetVersion(self) -> int:
        return 130101

    def cublasLtGetStatusString(self, status: int) -> bytes:
        return b"as the test wants"

    def cublasLtCreate(self, handle: Any) -> int:
        return self._new(handle)

    def cublasLtMatmulDescCreate(self, handle: Any, compute: int, scale: int) -> int:
        return self._new(handle, compute=compute)

    def cublasLtMatmulDescSetAttribute(self, handle: Any, attribute: int, value: Any, size: int) -> int:
        assert size == ctypes.sizeof(value._obj)
        self.things[handle.value][attribute] = value._obj.value
        return 0

    def cublasLtMatrixLayoutCreate(self, handle: Any, dtype: int, rows: int, columns: int, ld: int) -> int:
        return self._new(handle, dtype=dtype, rows=rows, columns=columns, ld=ld)

    def cublasLtMatmulPreferenceCreate(self, handle: Any) -> int:
        return self._new(handle)

    def cublasLtMatmulPreferenceDestroy(self, handle: Any) -> int:
        return 0

    cublasLtMatmulPreferenceSetAttribute = cublasLtMatmulDescSetAttribute

    def cublasLtMatmulAlgoGetHeuristic(self, *arguments: Any) -> int:
        operation, results, found = arguments[1], *arguments[-2:]
        how = self.things[operation.value]
        assert (8 in how) == (how.get(7) == 4), "a bias is announced, and where it is"
        if self.scarce:
            return 15
        for number in range(3):
            results[number].algo[0] = number + 1
        results[1].state = 15
        found._obj.value = 3
        return 0

    def cublasLtMatmul(self, handle: Any, operation: Any, alpha: Any, *rest: Any) -> int:
        a, la, b, lb, beta, c, lc, d, ld, algorithm, workspace, size, stream = rest
        how = self.things[operation.value]
        left = self._matrix(a, la).T if how[3] else self._matrix(a, la)
        right = self._matrix(b, lb).T if how[4] else self._matrix(b, lb)
        total = alpha._obj.value * (left.astype("f8") @ right.astype("f8"))
        if beta._obj.value:
            total = total + beta._obj.value * self._matrix(c, lc).astype("f8")
        if how.get(7) == 4:
            length = total.shape[0]
            bias = {"dtype": how[26], "rows": length, "columns": 1, "ld": length}
            total = total + self._read(how[8], bias).astype("f8")
        target = self._matrix(d, ld)
        target[...] = total.astype(target.dtype)
        self.ran += 1
        return 0

    def _matrix(self, address: int, layout: Any) -> HostArray:
        return self._read(address, self.things[layout.value])

    def _read(self, address: int, of: dict[str, int]) -> HostArray:
        names = {0: "float32", 1: "float64", 2: "float16", 14: ml_dtypes.bfloat16}
        dtype = np.dtype(names[of["dtype"]])
        count = of["ld"] * of["columns"]
        raw = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
        return np.frombuffer(raw, dtype).reshape(of["columns"], of["ld"])[:, : of["rows"]].T
