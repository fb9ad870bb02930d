"""The backend `numba` as users meet it: options, libraries that are missing, BLAS as it was found."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import vitref
from vitref import backends
from vitref.errors import BackendError
from vitref.testing import tolerance
from vitref.training import adamw

pytest.importorskip("numba")
threadpoolctl: Any = pytest.importorskip("threadpoolctl")


def blas_threads() -> list[int]:
    libraries = threadpoolctl.threadpool_info()
    return [library["num_threads"] for library in libraries if library["user_api"] == "blas"]


def small() -> tuple[vitref.Weights, Any]:
    config = vitref.Config(
        image_size=(6, 4), patch_size=(3, 2), position_grid=(2, 2), channels=3, width=6, depth=2, heads=3,
        mlp_width=7, classes=4, eps=1e-6, activation="gelu", qkv_bias=True, pool="token",
    )  # fmt: skip
    image = np.random.default_rng(0).standard_normal((3, 3, 6, 4))
    return vitref.init(config, seed=0), image


def test_equal_options_give_the_same_backend() -> None:
    from vitref.backends import numba_backend

    default = backends.get("numba")
    assert default is backends.get("numba", threads=numba_backend.cores())
    assert default is not backends.get("numba", threads=numba_backend.cores() + 1)
    assert default.name == "numba"
    assert {"numba", "numpy", "threadpoolctl"} <= default.versions.keys()
    assert backends.available()["numba"] is None


def test_far_more_threads_than_anybody_has_are_refused() -> None:
    with pytest.raises(BackendError, match="at most 1024"):
        backends.get("numba", threads=100_000)


@pytest.mark.parametrize("number", [0, -1, 1.0, True, "2", [2]])
@pytest.mark.parametrize("option", ["threads", "images_per_product"])
def test_a_number_that_is_none_is_refused(option: str, number: Any) -> None:
    backends.get("numba", **{option: 1})
    with pytest.raises(BackendError) as caught:
        backends.get("numba", **{option: number})
    assert caught.value.where == f"backend numba, {option}"
    assert repr(number) in str(caught.value)


def test_without_its_libraries_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['{}'] = None\n"
        "from vitref import backends\n"
        "try: backends.get('numba')\n"
        "except backends.BackendError as error: print(error)\n"
    )
    for library in ("numba", "threadpoolctl"):
        run = subprocess.run([sys.executable, "-c", code.format(library)], capture_output=True, text=True)
        assert 'pip install "vitref[numba]"' in run.stdout, run.stderr


def test_importing_vitref_imports_no_numba() -> None:
    optional = "('numba', 'llvmlite', 'threadpoolctl')"
    code = f"import sys, vitref, vitref.testing; print([m for m in {optional} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_blas_is_left_as_it_was_found() -> None:
    weights, image = small()
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        vitref.backward(weights, image, [0, 1, 2], backend="numba")
        assert blas_threads() == before
        with pytest.raises(vitref.ConfigError):
            vitref.backward(weights, image, [0, 1, 9], backend="numba")
        assert blas_threads() == before


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_any_number_of_threads_gives_the_references_gradients(threads: int) -> None:
    weights, image = small()
    backend = backends.get("numba", threads=threads)
    found = vitref.backward(weights, image, [0, 1, 2], backend=backend, dtype="float64")
    expected = vitref.backward(weights, image, [0, 1, 2], dtype="float64")
    for name, gradient in expected.weights.items():
        scale = max(np.abs(gradient).max(), 1e-3)
        assert np.abs(found.weights[name] - gradient).max() < tolerance("float64", 1000) * scale, name


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_image_per_product_makes_images_independent(dtype: str, threads: int) -> None:
    """Output and gradient of an image have the same bits alone, first of two, and in a larger batch."""
    config = vitref.Config.variant(
        "ViT-Ti/16", convention="timm", depth=2, classes=37, image_size=(48, 80), position_grid=(3, 5)
    )
    weights, rng = vitref.init(config, seed=0), np.random.default_rng(1)
    image, dy = rng.standard_normal((7, 3, 48, 80)), rng.standard_normal((7, 37))
    backend = backends.get("numba", threads=threads, images_per_product=1)

    def passes(part: slice) -> tuple[bytes, bytes]:
        arguments: dict[str, Any] = {"cotangent": dy[part], "backend": backend, "dtype": dtype}
        found = vitref.backward(weights, image[part], **arguments)
        assert found.logits is not None
        return found.logits[-1].tobytes(), found.image[-1].tobytes()

    assert passes(slice(2, 3)) == passes(slice(1, 3)) == passes(slice(0, 3))


def test_the_losses_and_norms_of_a_model_run_by_kernels() -> None:
    weights, image = small()
    trace = vitref.trace(weights, image, [0, 1, 2], backend="numba", only=["loss"])
    for step in ("patch_embed.proj", "norm", "head", "loss"):
        assert trace.ran[step] == "kernel", step


RULE: dict[str, Any] = {"rate": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(300, 257), (5,), ()])
def test_adamw_is_the_reference_rule(shape: tuple[int, ...], threads: int, dtype: str) -> None:
    rule = backends.get("numba", threads=threads).rules["adamw"]
    rng = np.random.default_rng(0)
    name = "head.weight" if len(shape) > 1 else "head.bias"
    decay = 0.1 if len(shape) > 1 else 0.0
    p = rng.standard_normal(shape).astype(dtype)
    m, v, state, expected = np.zeros_like(p), np.zeros_like(p), None, {name: p.astype("float64")}
    for step in (1, 2, 3):
        g = rng.standard_normal(shape).astype(dtype)
        given = [x.copy() for x in (p, g, m, v)]
        new, mean, square = rule(p, g, m, v, step=step, decay=decay, **RULE)
        for x, copy in zip((p, g, m, v), given, strict=True):
            np.testing.assert_array_equal(x, copy)
        expected, state = adamw.update(expected, {name: g.astype("float64")}, state, decay=0.1, **RULE)
        for found, exact in ((new, expected), (mean, state.mean), (square, state.square)):
            assert found.dtype == dtype
            assert found.shape == shape
            allowed = step * tolerance(dtype) * np.max(np.abs(exact[name]))
            assert np.max(np.abs(found - exact[name])) <= allowed
        p, m, v = new, mean, square
