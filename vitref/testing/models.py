"""Whole random small models on a backend, against the NumPy reference in float64. Needs Hypothesis.

    @pytest.mark.parametrize("check", MODEL_CHECKS)
    def test_models(check):
        MODEL_CHECKS[check](backend)

`vitref.testing.suite` holds what single components must have; here is what a backend must have once
the graph, its kernels and the buffers they share come together.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np

import vitref
from vitref.array import HostArray
from vitref.backends.interface import Backend
from vitref.testing import bad_use
from vitref.testing.answers import Answers, Posed, answers, components, posed
from vitref.testing.small_models import Model, models
from vitref.testing.strategies import for_all
from vitref.testing.tolerance import tolerance

Check = Callable[[Backend, Posed], None]


def outputs(backend: Backend, p: Posed) -> None:
    """`vitref.forward` gives the final output of the reference, from a contiguous image or not."""
    known = answers(p)
    for image in (p.image, np.asfortranarray(p.image)):
        y = vitref.forward(p.weights, image, train=p.train, backend=backend, dtype=p.dtype)
        _same("the final output", y, p, known, known.final)


def gradients(backend: Backend, p: Posed) -> None:
    """`vitref.backward` gives its gradients: of every parameter and of the image; logits and loss."""
    for q in p.differentiated():
        known, found = answers(q), _backward(backend, q)
        assert found.weights.keys() == q.weights.keys()
        for name, gradient in found.weights.items():
            _same(f"the gradient of {name}", gradient, q, known, f"{name}:grad")
        _same("the gradient of the image", found.image, q, known, "image:dy")
        if found.logits is not None:
            _same("the logits", found.logits, q, known, "logits")
        if found.loss is not None:
            _same("the loss", np.asarray(found.loss), q, known, "loss")


def traces(backend: Backend, p: Posed) -> None:
    """Every tap of a trace is the reference's; what kernels hide is there if asked for."""
    for q in p.differentiated():
        known = answers(q)
        arguments = {**q.arguments, "backend": backend, "dtype": q.dtype}
        found = dict(vitref.trace(q.weights, q.image, **arguments))
        assert found.keys() <= known.values.keys(), f"{found.keys() - known.values.keys()} do not exist"
        if hidden := known.values.keys() - found.keys():
            asked = dict(vitref.trace(q.weights, q.image, **arguments, only=hidden))
            assert asked.keys() == hidden, f"asked for, and not there: {hidden - asked.keys()}"
            found |= asked
            for name in (name for name in hidden if name.startswith("blocks.0.") and ":" not in name):
                alone = vitref.trace(q.weights, q.image, **arguments, only=[name])
                assert set(alone) == {name}, f"asked for alone, and not there: {name}"
        for name, value in found.items():
            _same(name, value, q, known, name)


def refusals(backend: Backend, p: Posed) -> None:
    """Arguments that do not fit raise what the reference raises; and afterwards all is as it was."""
    before = _bits(_backward(backend, p))
    wide = Posed(p.weights, p.image, "float64" if p.dtype == "float64" else "float32", p.arguments)
    on_numpy = bad_use.calls(wide)
    for what, call in bad_use.calls(p).items():
        found, expected = bad_use.outcome(call, backend), bad_use.outcome(on_numpy[what], "numpy")
        assert found == expected, f"{what}: {found}, where the reference gives {expected}"
    _unchanged("a pass after refused ones", _bits(_backward(backend, p)), before)


def repeatable(backend: Backend, p: Posed) -> None:
    """The same call gives the same bits."""
    _unchanged("a second call", _bits(_backward(backend, p)), _bits(_backward(backend, p)))


def own_results(backend: Backend, p: Posed) -> None:
    """What a call returned stays as it was, whatever is called next: this model, or another one."""
    first = _backward(backend, p)
    before = _bits(first)
    other = Posed(p.other_weights(), p.other_image(), p.dtype, p.arguments)
    second = _backward(backend, other)
    _unchanged("the first result", _bits(first), before)
    _unchanged("a result between two others", _bits(_backward(backend, other)), _bits(second))
    _unchanged("a result after another model's", _bits(_backward(backend, p)), before)
    taps = _trace(backend, p)
    copies = {name: np.array(tap) for name, tap in taps.items()}
    _trace(backend, other)
    _unchanged("a trace after another one", dict(taps), copies)


def batches(backend: Backend, p: Posed) -> None:
    """Calls with other numbers of images, forward alone or both ways, leave nothing behind."""
    first = _bits(_backward(backend, p))
    forward = partial(vitref.forward, p.weights, train=p.train, backend=backend, dtype=p.dtype)
    alone = forward(p.image)
    for count in (1, len(p.image) + 2, 1):
        q = p.of_images(count)
        known = answers(q)
        _same(f"the output for {count} images", forward(q.image), q, known, known.final)
        for name, gradient in _backward(backend, q).weights.items():
            _same(f"the gradient of {name} for {count} images", gradient, q, known, f"{name}:grad")
    _unchanged("a pass after others", _bits(_backward(backend, p)), first)
    _unchanged("a forward pass after others", {"y": forward(p.image)}, {"y": alone})


def given_arrays(backend: Backend, p: Posed) -> None:
    """Gradients that are written where an earlier result had its own are the same to the last bit."""
    expected = _bits(_backward(backend, p))
    earlier = _backward(backend, Posed(p.other_weights(), p.other_image(), p.dtype, p.arguments))
    found = _backward(backend, p, out=earlier)
    _unchanged("a result in given arrays", _bits(found), expected)
    for name, array in earlier.weights.items():
        assert found.weights[name] is array, f"the gradient of {name} is not in the given array"


def kernels_run(backend: Backend, p: Posed) -> set[str]:
    """Where there is a kernel it runs, or `ran` says why not. Returns those that ran."""
    kernels, parts, ran_by_kernel = backend.kernels_at(backend.precision[0]), components(p), set()
    inside = ("norm1", "attn.scores", "mlp.act")
    for asked in (None, ["loss"], *([f"blocks.0.{name}" for name in inside[:n]] for n in (1, 2, 3))):
        only = asked if asked != ["loss"] or "labels" in p.arguments else ["embed"]
        found = vitref.trace(p.weights, p.image, **p.arguments, only=only, backend=backend, dtype=p.dtype)
        for path, how in found.ran.items():
            expected = ("kernel", "reference (") if parts[path] in kernels else ("reference",)
            assert how.startswith(expected), f"{path} ran by: {how}"
            assert how == "reference" or parts[path] in kernels, f"{path} ran by: {how}"
            ran_by_kernel |= {parts[path]} if how == "kernel" else set()
    return ran_by_kernel


def _every_kernel_runs(backend: Backend, share: float) -> None:
    """Each kernel of the backend runs in some model, but for those that step aside for a recording."""
    seen: set[str] = set()
    _for_models(backend, lambda p: seen.update(kernels_run(backend, p)), share, "kernels_run")
    kernels = backend.kernels_at(backend.precision[0])
    wanted = {name for name, kernel in kernels.items() if not getattr(kernel, "YIELDS", False)}
    assert wanted <= seen, f"never run in any model: {', '.join(sorted(wanted - seen))}"


PROPERTIES: dict[str, Check] = {
    check.__name__: check
    for check in (outputs, gradients, traces, refusals, repeatable, own_results, batches, given_arrays)
}


def verify_model(backend: Backend, check: str, *, share: float = 0.1) -> None:
    """Try to find a small model for which this does not hold: then AssertionError, with the model.

    `share` of the Hypothesis profile's number of cases is tried in every dtype of the backend.
    """
    if check == "kernels_run":
        return _every_kernel_runs(backend, share)
    _for_models(backend, lambda p: PROPERTIES[check](backend, p), share, check)


MODEL_CHECKS: dict[str, Callable[[Backend], None]] = {
    name: partial(verify_model, check=name) for name in (*PROPERTIES, "kernels_run")
}
"""Name -> what every backend must pass."""


def _for_models(backend: Backend, holds: Callable[[Posed], Any], share: float, check: str) -> None:
    for dtype in backend.dtypes:

        def of_model(model: Model, dtype: str = dtype) -> None:
            holds(posed(model, dtype))

        for_all(models(), cast(Callable[[Model], None], of_model), share, f"{check} {dtype}")


def _backward(backend: Backend, p: Posed, **options: Any) -> vitref.Gradients:
    return vitref.backward(p.weights, p.image, **p.arguments, **options, backend=backend, dtype=p.dtype)


def _trace(backend: Backend, p: Posed) -> vitref.Recording:
    return vitref.trace(p.weights, p.image, **p.arguments, backend=backend, dtype=p.dtype)


def _same(what: str, found: HostArray, p: Posed, known: Answers, name: str) -> None:
    """Equal to the reference's value of this name, as far as rounding in this dtype allows."""
    expected, size = known.values[name], known.sizes[name]
    assert found.shape == expected.shape, f"{what} has shape {found.shape}, expected {expected.shape}"
    error = float(np.max(np.abs(found.astype(np.float64) - expected), initial=0.0))
    allowed = tolerance(p.dtype, known.terms) * size
    assert error <= allowed, f"{what} is off by {error:.3g}; rounding explains {allowed:.3g}"


def _bits(result: vitref.Gradients) -> dict[str, HostArray]:
    """Copies of all arrays of a result."""
    arrays = {**result.weights, "image": result.image, "loss": result.loss, "logits": result.logits}
    return {name: np.array(array) for name, array in arrays.items() if array is not None}


def _unchanged(what: str, found: dict[str, HostArray], expected: dict[str, HostArray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.tobytes() == expected[name].tobytes(), f"{what} has changed: {name}"
