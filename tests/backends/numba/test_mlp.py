"""The MLP by a team: the reference's numbers, forward and back, however the work is divided."""

from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vitref.array import HostArray
from vitref.backends.interface import bound
from vitref.backends.workspace import Workspace
from vitref.graph import mlp as reference
from vitref.run import Run, Trace
from vitref.testing import tolerance

pytest.importorskip("numba")

from vitref.backends.numba_kernels import mlp
from vitref.backends.numba_kernels.blas import limited
from vitref.backends.numba_kernels.team import Team

Arrays = dict[str, HostArray]


def arrays(
    batch: int = 2, tokens: int = 7, width: int = 6, hidden: int = 5, seed: int = 0, dtype: str = "float64"
) -> Arrays:
    rng = np.random.default_rng(seed)
    shapes = {
        "x": (batch, tokens, width),
        "dy": (batch, tokens, width),
        "fc1.weight": (hidden, width),
        "fc1.bias": (hidden,),
        "fc2.weight": (width, hidden),
        "fc2.bias": (width,),
    }
    made = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    for a in made.values():
        a.setflags(write=False)
    return made


def kernel(threads: int = 2, together: int | None = None) -> Any:
    return bound(mlp, team=Team(threads), together=together)


def passes(given: Arrays, activation: str = "gelu", part: Any = None, workspace: Any = None) -> Arrays:
    """y, dx and every gradient: by this kernel, or by the reference where it is None."""
    run = Run({f"m.{name}": a for name, a in given.items()}, kernels={} if part is None else {"mlp": part})
    run.workspace = workspace
    t = Trace(run)
    with limited():
        y = t.step("m", reference, given["x"], activation=activation, rate=0.0)
        dx = t.undo("m", given["dy"])
    run.finish()
    assert run.ran["m"] == "kernel" if part else "m.act" in run.ran
    return {"y": y, "dx": dx, **run.gradients}


def assert_close(found: Arrays, given: Arrays, activation: str) -> None:
    """To the reference in float64, relative to the size of the terms of each sum: see `sizes`."""
    dtype = str(given["x"].dtype)
    exact = {name: a.astype("float64") for name, a in given.items()}
    expected, size = passes(exact, activation), sizes(exact, activation)
    bound = 4 * tolerance(dtype, sum(a.size for a in given.values()))
    for name in expected:
        assert found[name].dtype == dtype
        assert np.linalg.norm(found[name] - expected[name]) <= bound * size[name], name


def sizes(given: Arrays, activation: str) -> dict[str, float]:
    """The largest norm of each result with random signs of its terms, which then do not all cancel."""
    rng, found = np.random.default_rng(0), dict[str, float]()
    for _ in range(4):
        names = ("dy", "fc1.weight", "fc2.weight")
        signs = {name: given[name] * rng.choice([-1, 1], given[name].shape) for name in names}
        for name, a in passes({**given, **signs}, activation).items():
            found[name] = max(found.get(name, 0.0), float(np.linalg.norm(a)))
    return found


def poisoned() -> Workspace:
    return Workspace(lambda shape, dtype: np.full(shape, np.nan, dtype))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
@hypothesis.given(data=st.data())
def test_numbers_are_those_of_the_reference(activation: str, dtype: str, data: st.DataObject) -> None:
    sizes = {name: data.draw(st.integers(1, 9), name) for name in ("batch", "tokens", "width", "hidden")}
    given = arrays(**sizes, seed=data.draw(st.integers(0, 2**32 - 1)), dtype=dtype)
    part = kernel(data.draw(st.integers(1, 4)), data.draw(st.sampled_from([None, 1, 2])))
    found = passes(given, activation, part, poisoned())
    assert_close(found, given, activation)
    run = Run({f"m.{name}": a for name, a in given.items()}, kernels={"mlp": part}, keep=False)
    run.workspace = poisoned()
    y = Trace(run).step("m", reference, given["x"], activation=activation, rate=0.0)
    assert np.array_equal(y, found["y"])


@pytest.mark.parametrize("batch", [1, 3])
def test_several_groups_by_threads_that_share_them(batch: int) -> None:
    given = arrays(batch=batch, tokens=600)
    assert_close(passes(given, part=kernel(2), workspace=poisoned()), given, "gelu")


def test_results_stay_and_backward_may_be_repeated() -> None:
    workspace, part = poisoned(), kernel()
    kept = passes(arrays(), part=part, workspace=workspace)
    copies = {name: a.copy() for name, a in kept.items()}
    passes(arrays(seed=1), part=part, workspace=workspace)
    assert all(np.array_equal(kept[name], copies[name]) for name in kept)
    assert not any(np.shares_memory(a, b) for a in kept.values() for b in workspace.buffers.values())
    given = arrays()
    parameters = [given[name] for name in mlp.PARAMS]
    _, saved = part.forward(given["x"], *parameters, activation="gelu", rate=0.0, xp=np, ws=None, keep=True)
    first, second = (part.backward(given["dy"], saved, xp=np, ws=None) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_what_it_refuses() -> None:
    x = arrays()["x"]
    assert kernel().refuses(x, activation="gelu", rate=0.0) is None
    assert "dropout" in kernel().refuses(x, activation="gelu", rate=0.1)
    assert "relu" in kernel().refuses(x, activation="relu", rate=0.0)
    assert "shape" in kernel().refuses(x[0], activation="gelu", rate=0.0)
    assert "int64" in kernel().refuses(x.astype("int64"), activation="gelu", rate=0.0)
