"""Matrix products by cuBLASLt, called through ctypes: descriptors, candidate algorithms, one call.

CuPy has no binding of cuBLASLt, and refuses cuBLAS while a CUDA graph is recorded. cuBLASLt counts in
columns: a row-major matrix is the transpose of the column-major one in the same memory, so
out = op(a) op(b) is asked for as out^T = op(b)^T op(a)^T, with `b` as cuBLASLt's A and `a` as its B.
Nothing here knows CuPy: addresses are integers. Source: docs.nvidia.com/cuda/cublas, and cublasLt.h.
"""

import ctypes
import importlib
from ctypes import byref, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p, sizeof
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import Any

from vitref.errors import BackendError

WORKSPACE = 32 * 2**20
"""Bytes that an algorithm may use besides its operands; what NVIDIA recommends from sm_90 on."""

CANDIDATES = 8
NAMES = ("libcublasLt.so.13", "libcublasLt.so.12", "cublasLt64_13.dll", "cublasLt64_12.dll")

DATA = {"float64": 1, "float32": 0, "float16": 2, "bfloat16": 14}
"""dtype name -> cudaDataType_t."""

COMPUTE = {"float64": 70, "float32": 68, "tf32": 77}
"""How products are added up -> cublasComputeType_t; float32 is COMPUTE_32F: no TF32."""

_TRANSA, _TRANSB, _EPILOGUE, _BIAS_POINTER, _BIAS_TYPE = 3, 4, 7, 8, 26  # cublasLtMatmulDescAttributes_t
_WITH_BIAS = 4  # cublasLtEpilogue_t
_MAX_WORKSPACE, _REDUCTIONS, _ALIGNMENT_OF_A = 1, 3, 5  # cublasLtMatmulPreferenceAttributes_t
_ORDERED_REDUCTIONS = 2  # COMPUTE_TYPE: parts of a sum are stored and added in a second, ordered step
_NOT_SUPPORTED = 15

_P = c_void_p
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cublasLtGetVersion": (c_size_t,),
    "cublasLtGetStatusString": (ctypes.c_char_p, c_int),
    "cublasLtCreate": (c_int, _P),
    "cublasLtMatmulDescCreate": (c_int, _P, c_int, c_int),
    "cublasLtMatmulDescSetAttribute": (c_int, _P, c_int, _P, c_size_t),
    "cublasLtMatmulDescGetAttribute": (c_int, _P, c_int, _P, c_size_t, _P),
    "cublasLtMatrixLayoutCreate": (c_int, _P, c_int, c_uint64, c_uint64, c_int64),
    "cublasLtMatrixLayoutGetAttribute": (c_int, _P, c_int, _P, c_size_t, _P),
    "cublasLtMatmulPreferenceCreate": (c_int, _P),
    "cublasLtMatmulPreferenceDestroy": (c_int, _P),
    "cublasLtMatmulPreferenceSetAttribute": (c_int, _P, c_int, _P, c_size_t),
    "cublasLtMatmulAlgoGetHeuristic": (c_int, *[_P] * 7, c_int, _P, _P),
    "cublasLtMatmul": (c_int, *[_P] * 14, c_size_t, _P),
}
"""What is called: the type of the result, then those of the arguments."""


class Algorithm(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t: an opaque algorithm, and what it needs."""

    _fields_ = [
        ("algo", c_uint64 * 8),
        ("workspace", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    ]


@dataclass(frozen=True)
class Product:
    """One kind of product of row-major matrices: out = op(a) op(b) [+ bias] [+ residual].

    op(a) is (m, k), op(b) (k, n), out (m, n).

    operands, result   dtype names of a and b, and of out, bias and residual
    compute            a key of COMPUTE
    bias, residual     whether a vector (n,) and a matrix (m, n) are added
    alignment          bytes that the addresses of a, b, residual, out and bias are multiples of
    """

    m: int
    n: int
    k: int
    transpose_a: bool
    transpose_b: bool
    operands: str
    result: str
    compute: str
    bias: bool = False
    residual: bool = False
    alignment: tuple[int, int, int, int, int] = (256, 256, 256, 256, 256)


@dataclass(frozen=True, eq=False)
class Plan:
    """The descriptors of a product, made once; `lock` because the bias is set in a descriptor."""

    product: Product
    operation: c_void_p
    layouts: tuple[c_void_p, c_void_p, c_void_p, c_void_p]
    alpha: Any
    beta: Any
    lock: Lock = field(default_factory=Lock)


@cache
def library() -> Any:
    """The loaded cuBLASLt. Raises BackendError when it is not installed."""
    for load in (_by_pathfinder, *(lambda name=name: name for name in NAMES)):
        try:
            found = ctypes.CDLL(load())
        except Exception:  # each place where it may be fails in its own way
            continue
        for name, (result, *arguments) in _SIGNATURES.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, arguments
        return found
    raise BackendError(
        "backend cupy",
        found="no cuBLASLt library",
        expected="cuBLASLt of CUDA 12 or 13",
        remedy='Install it with `pip install "vitref[cuda13]"` (or cuda12).',
    )


def _by_pathfinder() -> str:
    pathfinder = importlib.import_module("cuda.pathfinder")
    return str(pathfinder.load_nvidia_dynamic_lib("cublasLt").abs_path)


def version() -> int:
    """As in 130101 for 13.1.1."""
    return int(library().cublasLtGetVersion())


def create_handle() -> c_void_p:
    """A handle of the current device."""
    handle = c_void_p()
    _check(library().cublasLtCreate(byref(handle)), "cublasLtCreate")
    return handle


@cache
def plan(product: Product) -> Plan:
    """The descriptors of this product; needs the library, and no device."""
    scale = "float64" if product.compute == "float64" else "float32"
    operation = c_void_p()
    create = library().cublasLtMatmulDescCreate
    _check(create(byref(operation), COMPUTE[product.compute], DATA[scale]), "cublasLtMatmulDescCreate")
    _describe(operation, _TRANSA, c_int32(product.transpose_b))
    _describe(operation, _TRANSB, c_int32(product.transpose_a))
    if product.bias:
        _describe(operation, _EPILOGUE, c_uint32(_WITH_BIAS))
        _describe(operation, _BIAS_TYPE, c_int32(DATA[product.result]))
    m, n, k = product.m, product.n, product.k
    a = _layout(product.operands, (k, m) if product.transpose_a else (m, k))
    b = _layout(product.operands, (n, k) if product.transpose_b else (k, n))
    c, out = _layout(product.result, (m, n)), _layout(product.result, (m, n))
    number = ctypes.c_double if scale == "float64" else c_float
    return Plan(product, operation, (b, a, c, out), number(1), number(1 if product.residual else 0))


def candidates(handle: c_void_p, wanted: Plan, bias: int | None) -> list[Algorithm]:
    """Algorithms for this product, the one that should be fastest first; none when there is none.

    `bias` is the address of a bias, where the product has one. Only those whose sums have a fixed order: the
    same product gives the same bits again.
    """
    preference, lib = c_void_p(), library()
    if bias is not None:
        _describe(wanted.operation, _BIAS_POINTER, c_void_p(bias))
    _check(lib.cublasLtMatmulPreferenceCreate(byref(preference)), "cublasLtMatmulPreferenceCreate")
    try:
        _prefer(preference, _MAX_WORKSPACE, c_uint64(WORKSPACE))
        _prefer(preference, _REDUCTIONS, c_uint32(_ORDERED_REDUCTIONS))
        a, b, c, out, _ = wanted.product.alignment
        for place, alignment in enumerate((b, a, c, out)):
            _prefer(preference, _ALIGNMENT_OF_A + place, c_uint32(alignment))
        found, results = c_int(), (Algorithm * CANDIDATES)()
        status = lib.cublasLtMatmulAlgoGetHeuristic(
            handle, wanted.operation, *wanted.layouts, preference, CANDIDATES, results, byref(found)
        )
    finally:
        lib.cublasLtMatmulPreferenceDestroy(preference)
    if status == _NOT_SUPPORTED:
        return []
    _check(status, "cublasLtMatmulAlgoGetHeuristic")
    return [result for result in results[: found.value] if result.state == 0]


def multiply(
    handle: c_void_p,
    wanted: Plan,
    algorithm: Algorithm,
    addresses: tuple[int, int, int | None, int | None, int],
    workspace: int,
    stream: int,
) -> None:
    """Start the product. `addresses` of a, b, bias, residual and out; `workspace` that of WORKSPACE bytes."""
    a, b, bias, residual, out = addresses
    layout_a, layout_b, layout_c, layout_out = wanted.layouts
    with wanted.lock:
        if bias is not None:
            _describe(wanted.operation, _BIAS_POINTER, c_void_p(bias))
        status = library().cublasLtMatmul(
            handle,
            wanted.operation,
            byref(wanted.alpha),
            b,
            layout_a,
            a,
            layout_b,
            byref(wanted.beta),
            out if residual is None else residual,
            layout_c,
            out,
            layout_out,
            byref(algorithm),
            workspace,
            WORKSPACE,
            stream,
        )
    _check(status, "cublasLtMatmul")


def to_text(algorithm: Algorithm) -> str:
    """All that cuBLASLt needs to run this algorithm again."""
    return bytes(algorithm).hex()


def from_text(text: str) -> Algorithm:
    """Raises ValueError when this is not the text of an algorithm."""
    raw = bytes.fromhex(text)
    if len(raw) != sizeof(Algorithm):
        raise ValueError(f"{len(raw)} bytes, expected {sizeof(Algorithm)}")
    return Algorithm.from_buffer_copy(raw)


def _layout(dtype: str, shape: tuple[int, int]) -> c_void_p:
    """Of a row-major matrix: its transpose in columns."""
    layout, (rows, columns) = c_void_p(), shape
    create = library().cublasLtMatrixLayoutCreate
    _check(create(byref(layout), DATA[dtype], columns, rows, columns), "cublasLtMatrixLayoutCreate")
    return layout


def _describe(operation: c_void_p, attribute: int, value: Any) -> None:
    status = library().cublasLtMatmulDescSetAttribute(operation, attribute, byref(value), sizeof(value))
    _check(status, "cublasLtMatmulDescSetAttribute")


def _prefer(preference: c_void_p, attribute: int, value: Any) -> None:
    set_attribute = library().cublasLtMatmulPreferenceSetAttribute
    status = set_attribute(preference, attribute, byref(value), sizeof(value))
    _check(status, "cublasLtMatmulPreferenceSetAttribute")


def _check(status: int, call: str) -> None:
    if status:
        text = library().cublasLtGetStatusString(status)
        raise BackendError(
            "backend cupy",
            found=f"{call} returned {status} ({(text or b'unknown').decode()})",
            expected="CUBLAS_STATUS_SUCCESS",
            remedy="Check that driver, CUDA libraries and GPU fit together: `vitref backends`.",
        )
