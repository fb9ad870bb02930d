"""The checks of whole models: a right backend passes, and each of them notices what it is there for."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest

from vitref import backends
from vitref.backends.interface import Backend
from vitref.components import layer_norm, linear
from vitref.errors import ConfigError
from vitref.testing.answers import answers, posed
from vitref.testing.models import MODEL_CHECKS, PROPERTIES, verify_model
from vitref.testing.small_models import config, model

NUMPY = backends.get("numpy")


@pytest.fixture(autouse=True)
def first_failure() -> Iterator[None]:
    """Hypothesis stops at the first case that fails; nobody reads it, so it need not be small."""
    before = hypothesis.settings.get_current_profile_name()
    hypothesis.settings.register_profile(
        "first failure", hypothesis.settings(), phases=(hypothesis.Phase.generate,), database=None
    )
    hypothesis.settings.load_profile("first failure")
    yield
    hypothesis.settings.load_profile(before)


def with_kernel(part: Any, **changes: Any) -> Backend:
    """The reference with a kernel made of a component, but for the changes; its workspaces are NumPy's."""

    def forward(*arrays: Any, xp: Any, ws: Any, keep: bool, **static: Any) -> Any:
        return part.forward(*arrays, **static, xp=xp)

    def backward(dy: Any, saved: Any, *, xp: Any, ws: Any) -> Any:
        return tuple(part.backward(dy, saved, xp=xp))

    declared = {"PARAMS": part.PARAMS, "HIDES": (), "ADDS": False, "refuses": lambda *x, **static: None}
    kernel = SimpleNamespace(**(declared | {"forward": forward, "backward": backward} | changes))
    name = part.__name__.rpartition(".")[2]
    return replace(NUMPY, name="planted", kernels={name: kernel}, empty=np.empty)


@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_a_right_kernel_passes(check: str) -> None:
    verify_model(with_kernel(linear), check, share=0.03)


calls = itertools.count()


def scaled(x: Any, weight: Any, bias: Any, *, eps: float, **extra: Any) -> Any:
    y, saved = layer_norm.forward(x, weight, bias, eps=eps)
    return y * x.dtype.type(1.001), saved


def scaled_back(dy: Any, saved: Any, **extra: Any) -> Any:
    dx, dweight, dbias = layer_norm.backward(dy, saved)
    return dx, dweight * dy.dtype.type(1.001), dbias


def trembling(dy: Any, saved: Any, **extra: Any) -> Any:
    """Another rounding at every call, as from atomic additions."""
    dx, dweight, dbias = layer_norm.backward(dy, saved)
    return dx, dweight * dy.dtype.type(1 + next(calls) % 2 * np.finfo(dy.dtype).eps), dbias


def lent(dy: Any, saved: Any, *, ws: Any, **extra: Any) -> Any:
    """A gradient in a buffer that the next call overwrites."""
    dx, dweight, dbias = layer_norm.backward(dy, saved)
    buffer = ws.empty("dweight", dweight.shape, dweight.dtype)
    buffer[...] = dweight
    return dx, buffer, dbias


def remembered() -> Any:
    """A table that is made once, for the first batch that came, and cut or repeated for others."""
    first: list[int] = []

    def backward(dy: Any, saved: Any, **extra: Any) -> Any:
        first.append(len(dy))
        dx, dweight, dbias = layer_norm.backward(dy, saved)
        return dx, dweight * dy.dtype.type(len(dy) / first[0]), dbias

    return backward


def summed_up(dy: Any, saved: Any, *, ws: Any, **extra: Any) -> Any:
    """Added to what the given array holds."""
    dx, dweight, dbias = layer_norm.backward(dy, saved)
    array = ws.out("weight", dweight.shape, dweight.dtype)
    array[...] = dweight + (array if ws.outs else 0)
    return dx, array, dbias


PLANTED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "a wrong output": (("outputs", "gradients", "traces"), {"forward": scaled}),
    "a wrong gradient": (("gradients", "traces", "batches"), {"backward": scaled_back}),
    "rounding that differs": (("repeatable", "own_results", "refusals"), {"backward": trembling}),
    "a result in a buffer": (("own_results",), {"backward": lent}),
    "a table of the first batch": (("batches",), {"backward": remembered()}),
    "a gradient added up": (("given_arrays",), {"backward": summed_up}),
    "a kernel that never runs": (("kernels_run",), {"refuses": lambda *x, **static: "not today"}),
}
NOTICED = [(what, check) for what, (checks, _) in PLANTED.items() for check in checks]


@pytest.mark.parametrize(("what", "check"), NOTICED, ids=[f"{what}: {check}" for what, check in NOTICED])
def test_a_planted_mistake_is_noticed(what: str, check: str) -> None:
    _, changes = PLANTED[what]
    with pytest.raises(AssertionError):
        verify_model(with_kernel(layer_norm, **changes), check, share=0.1)


def test_a_step_that_a_kernel_hides_without_saying_so_is_noticed() -> None:
    """What is asked for by name is then not there."""
    core = NUMPY.kernels["attention_core"]
    kernel = SimpleNamespace(
        PARAMS=(),
        HIDES=("scores", "context"),
        ADDS=False,
        refuses=lambda *x, rate: "dropout" if rate else None,
        forward=core.forward,
        backward=core.backward,
    )
    with pytest.raises(ConfigError, match="no output called"):
        verify_model(replace(NUMPY, kernels={"attention_core": kernel}), "traces", share=0.1)


@pytest.mark.parametrize("changes", [{"dtypes": ("float64", "float128")}, {"precision": ("strict", "exact")}])
def test_an_error_of_another_kind_is_noticed(changes: Any) -> None:
    with pytest.raises(AssertionError, match="where the reference gives BackendError"):
        verify_model(replace(NUMPY, **changes), "refusals", share=0.03)


def test_every_property_notices_something() -> None:
    assert {check for _, check in NOTICED} | {"refusals"} == {*PROPERTIES, "kernels_run"}


def test_the_bound_grows_where_a_model_is_ill_conditioned_and_only_there() -> None:
    """A LayerNorm of rows that are nearly constant divides every rounding by their deviation."""
    fields = {
        "grid": (1, 2), "patch_size": (1, 1), "remainder": (0, 0), "channels": 1, "width": 4, "depth": 1,
        "heads": 1, "mlp_width": 3, "classes": 2, "eps": 1e-12, "activation": "gelu", "qkv_bias": True,
    }  # fmt: skip
    drawn = model(config(**fields), batch=2, seed=0)
    flat = dict(drawn.arrays) | {
        name: 1 + 1e-4 * drawn.arrays[name] for name in ("pos_embed", "cls_token", "patch_embed.proj.bias")
    }
    flat["patch_embed.proj.weight"] = 1e-4 * drawn.arrays["patch_embed.proj.weight"]
    usual, ill = (answers(posed(m, "float64")).sizes for m in (drawn, drawn._replace(arrays=flat)))
    assert 0.5 < usual["blocks.0.norm1"] < 30
    assert ill["blocks.0.norm1"] > 1e3


def test_the_bound_of_a_gradient_that_is_zero_is_the_size_of_its_terms() -> None:
    """Softmax does not see the bias of the keys: its gradient is zero but for rounding."""
    drawn = model(
        config(
            grid=(2, 2), patch_size=(1, 1), remainder=(0, 0), channels=1, width=4, depth=1, heads=1,
            mlp_width=3, classes=2, eps=1e-6, activation="gelu", qkv_bias=True,
        ),
        batch=2,
        seed=0,
    )  # fmt: skip
    known = answers(posed(drawn, "float64"))
    keys = known.values["blocks.0.attn.qkv.bias:grad"][4:8]
    assert np.max(np.abs(keys)) < 1e-12
    assert known.sizes["blocks.0.attn.k:dy"] > 1e-3
