"""Memory holds the taps of one link at a time, however deep the model is."""

import gc
import tracemalloc
from pathlib import Path

import numpy as np

import vitref
from tests.verify.compare import models
from vitref.verify.compare import compare
from vitref.verify.steps import table

FACTS = {"width": 60, "head_dim": 20, "mlp_width": 80, "patch_size": (4, 2), "position_grid": (4, 10)}


def saved(folder: Path, depth: int) -> tuple[Path, Path]:
    weights = models.random_weights(models.config(depth=depth, **FACTS), depth)
    image = models.image(images=2)
    for name, dtype in (("reference", "float64"), ("candidate", "float32")):
        only = ["logits"] if name == "reference" else None
        trace = vitref.trace(weights, image, dtype=dtype, only=only)
        trace.save(folder / f"{name}{depth}.safetensors", weights)
    return folder / f"reference{depth}.safetensors", folder / f"candidate{depth}.safetensors"


def peak(folder: Path, depth: int) -> int:
    reference, candidate = saved(folder, depth)
    gc.collect()
    tracemalloc.start()
    try:
        report = compare(reference, candidate)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert report.outcome == "agree"


def test_a_block_more_takes_far_less_memory_than_its_taps(tmp_path: Path) -> None:
    """Of each tap there are kept sums of squares, token by token."""
    peak(tmp_path, 1)
    shallow, deep = (peak(tmp_path, depth) for depth in (2, 6))
    shapes = table(models.config(**FACTS), 2).shapes
    taps = sum(8 * int(np.prod(shape)) for name, shape in shapes.items() if name.startswith("blocks.0"))
    parameters = models.config(depth=1, **FACTS).parameter_shapes()
    own = sum(12 * int(np.prod(shape)) for name, shape in parameters.items() if name.startswith("blocks.0"))
    assert (deep - shallow) / 4 - own < 0.5 * taps
