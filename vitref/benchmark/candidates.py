"""The candidates: for each, what it needs, which cases it can run, and how it is built."""

import importlib.util
from functools import partial
from typing import NamedTuple

from vitref.benchmark import jax_jit, memory, onnx_file, own, products, timm_cuda, torch_model
from vitref.benchmark.case import Case
from vitref.benchmark.program import Build

FULL = ("float32", "float64")
HALF = ("bfloat16", "float16")
BOTH = ("forward", "backward")


class Candidate(NamedTuple):
    """modules     what must be installed
    build       how it is built
    dtypes      what it can run
    directions  likewise
    precisions  likewise
    device      where it runs
    kept        arrays of the size of the token stream that one block keeps for its backward pass, at most
    whole       whether it forms the attention matrices of a whole batch
    """

    modules: tuple[str, ...]
    build: Build
    dtypes: tuple[str, ...] = FULL
    directions: tuple[str, ...] = BOTH
    precisions: tuple[str, ...] = ("strict",)
    device: str = "cpu"
    kept: int = 20
    whole: bool = False

    def runs(self, case: Case) -> bool:
        return (
            case.device == self.device
            and case.dtype in self.dtypes
            and case.direction in self.directions
            and case.precision in self.precisions
        )

    def missing(self) -> list[str]:
        """The modules that are not installed."""
        return [name for name in self.modules if importlib.util.find_spec(name) is None]

    def need(self, case: Case) -> float:
        """MiB that it takes, roughly and rather too much."""
        return memory.need(case, self.kept, self.whole)


BACKENDS = {
    "numpy": Candidate(("vitref", "numpy", "scipy"), own.build("numpy")),
    "numba": Candidate(("vitref", "numpy", "numba"), own.build("numba")),
    "cupy": Candidate(
        ("vitref", "cupy"),
        own.build("cupy"),
        (*FULL, *HALF),
        precisions=("strict", "fp32x3", "tf32"),
        device="cuda",
    ),
}
"""Backend of vitref -> candidate. The candidate's own name is `vitref-BACKEND`."""

EXPORTED = partial(Candidate, dtypes=("float32",), directions=("forward",), whole=True)
TIMM = partial(
    Candidate,
    ("torch", "timm"),
    dtypes=(*FULL, *HALF),
    precisions=("strict", "fp32x3", "tf32"),
    device="cuda",
)
AUTOCAST = partial(Candidate, ("torch", "timm"), dtypes=HALF, device="cuda")

PEERS = {
    "torch": Candidate(("torch",), torch_model.eager),
    **{
        f"torch-compile-{mode}": Candidate(("torch",), torch_model.compiled(mode))
        for mode in torch_model.MODES
    },
    "jax": Candidate(("jax", "jaxlib"), jax_jit.build, kept=40, whole=True),
    "onnxruntime": EXPORTED(("onnxruntime", "torch", "onnx"), onnx_file.onnxruntime),
    "openvino": EXPORTED(("openvino", "torch", "onnx"), onnx_file.openvino),
    "timm": TIMM(timm_cuda.build(None)),
    "timm-autocast": AUTOCAST(timm_cuda.build(None, autocast=True)),
    **{f"timm-compile-{mode}": TIMM(timm_cuda.build(mode)) for mode in torch_model.MODES},
    **{
        f"timm-autocast-compile-{mode}": AUTOCAST(timm_cuda.build(mode, autocast=True))
        for mode in torch_model.MODES
    },
}
"""Name -> candidate that vitref is compared with. Those of one library compiled in several ways have names
LIBRARY-compile-MODE: the quickest of them counts."""

FLOORS = {
    "products": Candidate(("numpy", "threadpoolctl"), products.build),
}
"""Name -> what no implementation with the same products can be quicker than."""


def family(name: str) -> str:
    """What the candidates of one library compiled in several ways have in common: LIBRARY-compile."""
    library, compiled, _ = name.partition("-compile")
    return library + compiled


def own_name(backend: str) -> str:
    """The candidate that is vitref on this backend."""
    return f"vitref-{backend}"


CANDIDATES = {**{own_name(backend): own for backend, own in BACKENDS.items()}, **PEERS, **FLOORS}
