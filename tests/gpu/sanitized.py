"""One small model, forward and backward, in every precision: what `compute-sanitizer` watches.

CuPy's memory pool is off, so that every array is an allocation of its own. Run by tests/gpu/run_all.py.
"""

import os

import numpy as np

import vitref
from vitref import backends

MODES = [("float32", precision) for precision in ("strict", "fp32x3", "tf32")]
MODES += [("bfloat16", "strict"), ("float16", "strict")]


def main() -> None:
    if os.environ.get("VITREF_GPU_STAND_IN") != "1":
        import cupy  # type: ignore[import-not-found]

        cupy.cuda.set_allocator(None)
    config = vitref.Config.variant("ViT-Ti/16", convention="timm", image_size=64, depth=1, classes=10)
    weights = vitref.init(config, seed=0, dtype="float32")
    image = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype("float32")
    backend = backends.get("cupy", graphs=False, tune=False)
    for dtype, precision in MODES:
        found = vitref.backward(weights, image, [1, 2], dtype=dtype, precision=precision, backend=backend)
        assert np.isfinite(found.image).all()
    print("done")


if __name__ == "__main__":
    main()
