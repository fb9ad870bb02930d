"""Arrays of other libraries in and out, and weights that live on a device."""

import gc
import re
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import array_api_strict
import numpy as np
import pytest

import vitref
from tests.backends.device import device, from_host, to_host
from tests.test_api import CONFIG, LABELS, random_weights
from vitref.components import layer_norm
from vitref.errors import BackendError
from vitref.testing import tolerance

IMAGE = np.random.default_rng(1).standard_normal((2, 3, 6, 9))


def strict(array: Any) -> Any:
    return array_api_strict.asarray(array, copy=True)


@pytest.fixture(scope="module")
def weights() -> vitref.Weights:
    return random_weights()


def close(found: Any, expected: Any) -> bool:
    """As far as float64 rounding through a small model goes."""
    return float(np.abs(np.asarray(found) - expected).max()) <= tolerance("float64", 10_000)


def test_results_come_back_in_the_library_of_the_image(weights: vitref.Weights) -> None:
    backend, _ = device()
    y = vitref.forward(weights, strict(IMAGE), backend=backend, dtype="float64")
    assert type(y) is type(strict(IMAGE))
    assert close(to_host(y), vitref.forward(weights, IMAGE, dtype="float64"))
    found = vitref.backward(weights, strict(IMAGE), LABELS, backend=backend, dtype="float64")
    expected = vitref.backward(weights, IMAGE, LABELS, dtype="float64")
    assert type(found.image) is type(y)
    assert isinstance(found.loss, float)
    assert all(close(to_host(found.weights[name]), expected.weights[name]) for name in weights)


def test_an_array_in_the_hosts_memory_is_taken_by_numpy_and_given_back(weights: vitref.Weights) -> None:
    y = vitref.forward(weights, strict(IMAGE), dtype="float64")
    assert type(y) is type(strict(IMAGE))
    np.testing.assert_array_equal(to_host(y), vitref.forward(weights, IMAGE, dtype="float64"))


def test_a_numpy_image_on_a_device_gives_numpy_results(weights: vitref.Weights) -> None:
    y = vitref.forward(weights, IMAGE, backend=device()[0], dtype="float64")
    assert isinstance(y, np.ndarray)
    assert close(y, vitref.forward(weights, IMAGE, dtype="float64"))


def test_the_callers_array_is_not_touched_and_not_kept(weights: vitref.Weights) -> None:
    for image in (strict(IMAGE), IMAGE.copy()):
        for backend in (device()[0], vitref.backends.get("numpy")):
            trace = vitref.trace(weights, image, backend=backend)
            image[0, 0, 0, 0] = 77.0
            assert trace.inputs["image"][0, 0, 0, 0] == trace["image"][0, 0, 0, 0] == IMAGE[0, 0, 0, 0]
            image[0, 0, 0, 0] = IMAGE[0, 0, 0, 0]


def test_an_array_that_the_library_would_round_is_refused(weights: vitref.Weights) -> None:
    class Rounding:
        """A library without float64, as JAX without x64."""

        shape, dtype = (2, 3, 6, 9), "float32"

        def __array_namespace__(self) -> Any:
            return SimpleNamespace(from_dlpack=lambda x: np.from_dlpack(x).astype(np.float32))

        def __dlpack__(self, **options: Any) -> Any:
            return IMAGE.astype(np.float32).__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return 1, 0

    assert vitref.forward(weights, Rounding()).dtype == np.float32
    with pytest.raises(vitref.ConfigError, match="a result in float64"):
        vitref.forward(weights, Rounding(), dtype="float64")


def test_labels_and_cotangents_of_another_library(weights: vitref.Weights) -> None:
    expected = vitref.backward(weights, IMAGE, LABELS, dtype="float64")
    found = vitref.backward(
        weights, strict(IMAGE), strict(np.array(LABELS)), dtype="float64", backend=device()[0]
    )
    assert close(to_host(found.image), expected.image)
    dy = np.random.default_rng(3).standard_normal((2, 5))
    expected = vitref.backward(weights, IMAGE, cotangent=dy, dtype="float64")
    for image, backend in ((strict(IMAGE), device()[0]), (IMAGE, "numpy")):
        found = vitref.backward(weights, image, cotangent=strict(dy), dtype="float64", backend=backend)
        assert close(np.asarray(found.image), expected.image)
    trace = vitref.trace(weights, strict(IMAGE), cotangent=strict(dy), backend=device()[0])
    np.testing.assert_array_equal(trace.inputs["cotangent.logits"], dy)
    elsewhere: Any = Elsewhere()
    with pytest.raises(vitref.ConfigError, match="in the host's memory"):
        vitref.backward(weights, IMAGE, elsewhere)
    with pytest.raises(vitref.ConfigError, match="in the host's memory"):
        vitref.backward(weights, IMAGE, cotangent=elsewhere)


def test_a_result_holds_no_more_memory_than_its_own() -> None:
    headless = random_weights(replace(CONFIG, classes=0))
    y = vitref.forward(headless, IMAGE)
    assert y.base is None
    assert all(y.base is None for y in vitref.stream(headless, [IMAGE, IMAGE[:1]]))


# Precision


@pytest.mark.parametrize("precision", ["exact", "coarse"])
def test_the_kernels_of_the_precision_run(weights: vitref.Weights, precision: str) -> None:
    def kernels(name: str) -> dict[str, Any]:
        def forward(x: Any, weight: Any, bias: Any, *, eps: float, xp: Any, ws: Any, keep: bool) -> Any:
            ran.add(name)
            return layer_norm.forward(x, weight, bias, eps=eps, xp=xp)

        def backward(dy: Any, saved: Any, *, xp: Any, ws: Any) -> Any:
            return tuple(layer_norm.backward(dy, saved, xp=xp))

        kernel = {"PARAMS": layer_norm.PARAMS, "HIDES": (), "ADDS": False, "refuses": lambda *a, **s: None}
        return {"layer_norm": SimpleNamespace(**kernel, forward=forward, backward=backward)}

    def replay(owner: Any, key: Any, compute: Any, image: Any) -> Any:
        keys.append(key)
        return compute(image)

    ran: set[str] = set()
    keys: list[Any] = []
    modes = {"exact": kernels("exact"), "coarse": kernels("coarse")}
    backend, _ = device(kernels=modes["exact"], modes=modes, precision=tuple(modes), replay=replay)
    arguments: dict[str, Any] = {"backend": backend, "precision": precision}
    vitref.forward(weights, IMAGE, **arguments)
    vitref.backward(weights, IMAGE, LABELS, **arguments)
    trace = vitref.trace(weights, IMAGE, **arguments)
    assert ran == {precision}
    assert keys[0][2] == trace.about["precision"] == precision
    assert trace.ran["norm"] == "kernel"


# Too little memory


def test_too_little_memory_is_an_error_that_says_what_fits(weights: vitref.Weights) -> None:
    def full(*arguments: Any) -> Any:
        error = BackendError("backend strict", found="full", expected="more", remedy="Take fewer.")
        error.share = 0.6
        raise error

    with pytest.raises(BackendError, match="at most 1 of the 2 images"):
        vitref.forward(weights, IMAGE, backend=device(replay=full)[0])
    with pytest.raises(BackendError, match="Take fewer"):
        vitref.forward(weights, IMAGE[:1], backend=device(replay=full)[0])

    def exhausted(*arguments: Any) -> Any:
        raise MemoryError("8 GiB")

    with pytest.raises(BackendError, match="too little memory: 8 GiB"):
        vitref.forward(weights, IMAGE, backend=device(replay=exhausted)[0])


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros((2, 6, 9, 3)), "(3, H, W) or (N, 3, H, W)"),
        (np.zeros((0, 3, 6, 9)), "(3, H, W) or (N, 3, H, W)"),
        (np.zeros((2, 3, 6, 9), np.int64), "dtype int64"),
        (np.zeros((3, 6, 8)), "6 x 8 pixels"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(weights: vitref.Weights, image: Any, complaint: str) -> None:
    with pytest.raises(vitref.ImageError, match=re.escape(complaint)):
        vitref.forward(weights, strict(image), backend=device()[0])


def test_an_array_of_the_host_is_finite_as_numpys_are(weights: vitref.Weights) -> None:
    wrong = IMAGE.copy()
    wrong[0, 0, 0, 0] = np.nan
    with pytest.raises(vitref.ConfigError, match="image: found values that are NaN"):
        vitref.forward(weights, strict(wrong))


def test_a_list_of_arrays_is_to_be_stacked(weights: vitref.Weights) -> None:
    with pytest.raises(vitref.ImageError, match="Stack preprocessed images"):
        vitref.forward(weights, [strict(IMAGE[0]), strict(IMAGE[1])])
    with pytest.raises(vitref.ImageError, match="Give the images alone"):
        vitref.forward(weights, [(IMAGE, LABELS)])


def test_a_tap_inside_a_kernel_is_named_as_such(weights: vitref.Weights) -> None:
    kernel = {"PARAMS": (), "HIDES": ("fc1", "act", "fc2"), "ADDS": False, "backward": None}

    def forward(x: Any, *, activation: str, rate: float, xp: Any, ws: Any, keep: bool) -> Any:
        return x, None

    mlp = SimpleNamespace(**kernel, refuses=lambda *inputs, **static: None, forward=forward)
    trace = vitref.trace(weights, IMAGE, backend=replace(vitref.backends.get("numpy"), kernels={"mlp": mlp}))
    with pytest.raises(KeyError, match=r"blocks\.0\.mlp ran as one kernel; name the tap in only="):
        trace["blocks.0.mlp.act"]


def test_a_backend_without_dlpack_says_so(weights: vitref.Weights) -> None:
    with pytest.raises(vitref.BackendError, match=r"a NumPy array or pictures"):
        vitref.forward(weights, strict(IMAGE), backend=device(from_dlpack=None)[0])


class Elsewhere:
    """An array that NumPy cannot reach."""

    shape = (2, 3, 6, 9)

    def __array_namespace__(self) -> Any:
        return array_api_strict

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("on device 7")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 7


def test_an_array_on_another_device_is_refused(weights: vitref.Weights) -> None:
    with pytest.raises(vitref.BackendError, match="in the host's memory"):
        vitref.forward(weights, Elsewhere())


def test_an_array_of_an_unknown_library_is_refused(weights: vitref.Weights) -> None:
    nameless = type("Nameless", (), {"__dlpack__": lambda self: None})()
    with pytest.raises(vitref.ImageError, match="Nameless"):
        vitref.forward(weights, nameless)


def test_weights_go_to_a_device_once_and_leave_it_with_their_object() -> None:
    weights, (backend, moved) = random_weights(), device()
    vitref.forward(weights, IMAGE, backend=backend, dtype="float64")
    first = moved["in"]
    assert first >= len(weights) + 1
    vitref.forward(weights, IMAGE, backend=backend, dtype="float64")
    assert moved["in"] == first + 1
    gone = weakref.ref(weights)
    del weights
    gc.collect()
    assert gone() is None


def test_to_moves_at_once_and_reads_as_before() -> None:
    weights, (backend, moved) = random_weights(), device()
    there = weights.to(backend, dtype="float32")
    assert moved["in"] == len(weights)
    assert there["head.weight"].dtype == np.float32
    vitref.forward(there, IMAGE, backend=backend)
    assert moved["in"] == len(weights) + 1
    with pytest.raises(vitref.BackendError, match="bfloat16"):
        weights.to(backend, dtype="bfloat16")


def test_the_only_results_moved_are_those_returned(weights: vitref.Weights) -> None:
    backend, moved = device()
    vitref.forward(weights, IMAGE, backend=backend)
    assert moved["out"] == 1
    vitref.backward(weights, IMAGE, LABELS, backend=backend)
    assert moved["out"] == 1 + len(weights) + len(("loss", "logits", "image"))
    vitref.forward(weights, strict(IMAGE), backend=backend)
    assert moved["out"] == 1 + len(weights) + 3


def test_constants_are_moved_once() -> None:
    fields = {**CONFIG.to_dict(), "position_grid": (2, 4), "position_resize": "bicubic"}
    resizing, (backend, moved) = random_weights(vitref.Config(**fields)), device()
    vitref.forward(resizing, IMAGE, backend=backend)
    before = moved["in"]
    vitref.forward(resizing, IMAGE, backend=backend)
    assert moved["in"] == before + 1


def test_a_recording_backend_replays_by_weights_and_shape(weights: vitref.Weights) -> None:
    seen: list[tuple[Any, Any]] = []

    def replay(owner: Any, key: Any, compute: Any, image: Any) -> Any:
        seen.append((owner, key))
        return compute(image)

    backend, _ = device(replay=replay)
    y = vitref.forward(weights, IMAGE, backend=backend, dtype="float64")
    assert close(y, vitref.forward(weights, IMAGE, dtype="float64"))
    assert seen == [(weights, ((2, 3, 6, 9), "float64", "strict"))]
    train = vitref.Train(dropout=0.1)
    vitref.forward(weights, IMAGE, backend=backend, train=train)
    assert len(seen) == 1


def test_pixels_may_be_normalised_on_the_device_with_the_same_bits(weights: vitref.Weights) -> None:
    def pixels(levels: Any, table: Any, dtype: str) -> Any:
        assert (levels.dtype, table.shape) == (np.uint8, (3, 256))
        seen.append(levels)
        chosen = [table.astype(dtype)[c][levels[..., c]] for c in range(3)]
        return strict(np.stack(chosen, axis=1))

    seen: list[Any] = []
    pictures = np.random.default_rng(5).integers(0, 256, (2, 6, 9, 3), dtype=np.uint8)
    there, here = (
        vitref.trace(weights, pictures, only="image", backend=device(pixels=p)[0], dtype="float32")
        for p in (pixels, None)
    )
    np.testing.assert_array_equal(there["image"], here["image"])
    assert there.about["pictures"] == here.about["pictures"] == ["image"]
    assert len(seen) == 1
    with pytest.raises(vitref.ImageError):
        vitref.forward(
            vitref.Weights(
                weights,
                replace(CONFIG, image_size=(6, 12), position_resize="bicubic"),
                preprocessing=weights.preprocessing,
            ),
            pictures,
            backend=device(pixels=pixels)[0],
        )


@pytest.mark.parametrize("stages", [True, False])
def test_an_image_is_moved_beside_a_pass_where_the_backend_can(weights: vitref.Weights, stages: bool) -> None:
    inside: list[bool] = [False]
    seen: list[bool] = []

    @contextmanager
    def scope() -> Iterator[None]:
        before, inside[0] = inside[0], True
        yield
        inside[0] = before

    def moved(array: Any, dtype: str) -> Any:
        if array.ndim == 4 and array.shape == IMAGE.shape:
            seen.append(inside[0])
        return from_host(array, dtype)

    backend, _ = device(scope=scope, from_host=moved, stages=stages)
    vitref.forward(weights, IMAGE, backend=backend)
    assert seen == [not stages]


# check_finite


@pytest.mark.parametrize("verb", ["forward", "backward", "trace"])
def test_check_finite_looks_at_an_image_on_a_device(weights: vitref.Weights, verb: str) -> None:
    wrong = IMAGE.copy()
    wrong[1, 2, 3, 4] = np.inf
    labels = [] if verb == "forward" else [LABELS]
    with pytest.raises(vitref.ConfigError, match="image: found values that are NaN or infinite"):
        getattr(vitref, verb)(weights, strict(wrong), *labels, backend=device()[0], check_finite=True)


def test_check_finite_looks_at_the_result() -> None:
    huge = random_weights()
    huge = huge.replace({"head.weight": np.full((5, 6), 1e38), "head.bias": np.full(5, 3.4e38)})
    image = IMAGE.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        with pytest.raises(vitref.ConfigError, match="tap logits: found values that are NaN"):
            vitref.trace(huge, image, only="logits", dtype="float32", check_finite=True)
        assert not np.isfinite(vitref.forward(huge, image)).all()
        with pytest.raises(vitref.ConfigError, match="the result: found values that are NaN"):
            vitref.forward(huge, image, check_finite=True)


# 16-bit results


def test_results_of_a_16_bit_run_are_float32() -> None:
    """With the GELU by tanh: SciPy's erf returns float32."""
    weights = random_weights(replace(CONFIG, activation="gelu_tanh"))

    def moved(array: Any, dtype: str) -> Any:
        return np.array(array).astype(dtype)

    backend, _ = device(
        xp=vitref.backends.get("numpy").xp,
        from_host=moved,
        to_host=np.asarray,
        dtypes=("float16",),
        on_device=False,
    )
    y = vitref.forward(weights, IMAGE, backend=backend, dtype="float16")
    assert y.dtype == np.float32
    found = vitref.backward(weights, IMAGE, LABELS, backend=backend, dtype="float16")
    assert {array.dtype.name for array in found.weights.values()} == {"float32"}
    trace = vitref.trace(weights, IMAGE, only="norm", backend=backend, dtype="float16")
    assert trace["norm"].dtype == np.float16
