"""The step from pixels to tokens as one kernel, against the composite in float64."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import vitref
from tests.cuda.host import host_backend
from vitref.array import HostArray
from vitref.graph import embed
from vitref.run import Run, Trace
from vitref.testing import tolerance

FORMS: dict[str, dict[str, Any]] = {
    "a class token with a position": {},
    "a class token without one": {"class_position": False, "pool": "mean"},
    "no class token": {"class_token": False, "class_position": False, "pool": "mean"},
    "a remainder, odd widths": {
        "image_size": (9, 11),
        "patch_size": (4, 3),
        "position_grid": (2, 3),
        "width": 5,
    },
}


def config(form: str) -> vitref.Config:
    sizes: dict[str, Any] = {
        "image_size": (8, 12),
        "patch_size": (4, 4),
        "position_grid": (2, 3),
        "width": 24,
    }
    shape = {"heads": 1, "mlp_width": 4, "depth": 1, "classes": 3}
    return vitref.Config.variant("ViT-Ti/16", convention="timm", **{**sizes, **shape, **FORMS[form]})


def passes(c: vitref.Config, dtype: str, **options: Any) -> tuple[Run, dict[str, HostArray]]:
    """Tokens and all gradients, of the same numbers in any dtype."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> HostArray:
        return rng.standard_normal(shape).astype("float16").astype(dtype)

    shapes = {n: s for n, s in c.parameter_shapes().items() if n.startswith(("patch_embed", "cls", "pos"))}
    t = Trace(Run({name: draw(*shape) for name, shape in shapes.items()}, **options))
    y = t.step("", embed, draw(3, c.channels, *c.image_size), config=c, rate=0.0)
    dimage = t.undo("", draw(*y.shape))
    t.run.finish()
    return t.run, {"tokens": y, "image": dimage, **t.run.gradients}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("form", FORMS)
def test_numbers_are_those_of_the_composite(form: str, dtype: str) -> None:
    backend = host_backend()
    run, found = passes(config(form), dtype, kernels=backend.kernels, workspace=None)
    assert run.ran == {"<embed>": "kernel"}
    _, exact = passes(config(form), "float64")
    assert found.keys() == exact.keys()
    for name, known in exact.items():
        assert (found[name].shape, str(found[name].dtype)) == (known.shape, dtype), name
        error = np.linalg.norm(found[name].astype("float64") - known)
        assert error <= tolerance(dtype) * np.linalg.norm(known), name


def test_gradients_share_no_memory() -> None:
    _, found = passes(config("a class token with a position"), "float32", kernels=host_backend().kernels)
    assert not np.shares_memory(found["cls_token"], found["pos_embed"])


def test_what_it_refuses() -> None:
    backend, image = host_backend(), np.zeros((1, 3, 8, 12), "float32")
    kernel, plain = backend.kernels["embed"], config("no class token")
    assert kernel.refuses(image, config=plain, rate=0.0) is None
    assert "dropout" in (kernel.refuses(image, config=plain, rate=0.1) or "")
    assert "float64" in (kernel.refuses(image.astype("float64"), config=plain, rate=0.0) or "")
    resized = dataclasses.replace(plain, position_grid=(5, 5), position_resize="bicubic")
    assert "resized" in (kernel.refuses(image, config=resized, rate=0.0) or "")
