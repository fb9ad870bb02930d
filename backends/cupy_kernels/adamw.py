"""One AdamW step of one parameter on the device, in one pass over memory: cuda/adamw.cu.

The rule is that of `vitref.training.adamw`.
"""

from typing import Any

import numpy as np

from vitref.array import Array
from vitref.backends.cupy_kernels.device import Device, ceil_div, contiguous, count, int64
from vitref.errors import BackendError

KERNELS = {
    ("float64", "float64"): "adamw_f64",
    ("float32", "float32"): "adamw_f32",
    ("float32", "float16"): "adamw_f16",
    ("float32", "bfloat16"): "adamw_bf16",
}
"""(dtype of the parameter, of its gradient) -> kernel: 16-bit parameters would not notice small steps."""

THREADS = 256
MOST_BLOCKS = 2**16


def adamw(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    rate: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    copy: Array | None = None,
    device: Device,
) -> tuple[Array, Array, Array]:
    """New p, m and v; nothing given is changed.

    p, m, v  of one shape, all float32 or all float64
    g        of that shape and dtype; float16 or bfloat16 beside float32
    step     t of the rule: 1 for the first step
    decay    0 where it does not count for this parameter
    copy     becomes the new p in the dtype of g, where it is given

    Raises BackendError for other dtypes.
    """
    new, mean, square = (device.empty(tuple(p.shape), p.dtype) for _ in range(3))
    if count(p.shape):
        arrays = [contiguous(x, device) for x in (p, g, m, v)]
        blocks = min(MOST_BLOCKS, ceil_div(count(p.shape), THREADS))
        rule = [rate, *(x for b in betas for x in (b, 1 - b, 1 / (1 - b**step))), eps, decay]
        sizes: list[Any] = [int64(count(p.shape)), *map(np.float64, rule)]
        grid, block = (blocks, 1, 1), (THREADS, 1, 1)
        device.launch("adamw", _kernel(p, g, m, v), grid, block, *arrays, new, mean, square, copy, *sizes)
    return new, mean, square


def _kernel(p: Array, g: Array, m: Array, v: Array) -> str:
    names = [str(x.dtype) for x in (p, g, m, v)]
    if (names[0], names[1]) not in KERNELS or {names[2], names[3]} != {names[0]}:
        raise BackendError(
            "AdamW",
            found=f"parameter, gradient, mean and square in {', '.join(names)}",
            expected="all in float32 or all in float64; beside float32 the gradient may have 16 bits",
            remedy="Keep the parameters in float32 and round a copy of them.",
        )
    return KERNELS[names[0], names[1]]
