"""Backends by name: imported when asked for, with the reason when one is unavailable."""

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from vitref.backends import third_party
from vitref.backends.interface import Backend
from vitref.errors import BackendError

MODULES = {
    "numpy": "vitref.backends.numpy_backend",
    "numba": "vitref.backends.numba_backend",
    "cupy": "vitref.backends.cupy_backend",
    "torch": "vitref.backends.torch_backend",
    "jax": "vitref.backends.jax_backend",
}
"""Name -> module with `create(**options) -> Backend`. Other packages add theirs by entry points."""

EXTRAS = {"numba": "numba", "cupy": "cuda13", "torch": "torch", "jax": "jax"}
"""Name -> the extra that installs what the backend needs."""


def get(name: str | Backend, **options: Any) -> Backend:
    """The backend of this name, with its options; a Backend is returned as it is.

    Raises BackendError when the name or an option is unknown, or the backend is unavailable here.
    """
    if isinstance(name, Backend):
        if options:
            raise _wrong_options(name.name, options, "none beside a Backend object")
        return name
    if not isinstance(name, str) or (name not in MODULES and name not in third_party.found()):
        raise _unknown(name)
    try:
        return _made(name, _creator(name), options)
    except BackendError:
        raise
    except Exception as error:  # whatever an optional library raises where it cannot run
        raise _unavailable(name, error) from error


def available() -> dict[str, str | None]:
    """Name -> None when the backend can be used here, else the reason why it cannot."""
    offers = third_party.found()
    reasons = {name: _reason(name) for name in (*MODULES, *(name for name in offers if name not in MODULES))}
    for name in sorted(offers.keys() & MODULES.keys()):
        for offer in offers[name]:
            usurper = f"{name} of {third_party.package(offer)}"
            reasons[usurper] = str(_taken(usurper, name))
    return reasons


def check(name: str | Backend, *, share: float = 0.1) -> list[Any]:
    """Run the whole suite of `vitref.testing` on a backend: what fails, as `vitref.testing.backend.Failure`.

    Every component through its array library, its kernels, its transfers, and whole models, forward and
    backward. `share` of the number of cases that Hypothesis' profile says (100, unless you set another)
    is tried. Raises BackendError when the backend is unavailable or Hypothesis is not installed.
    """
    backend = get(name)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 20:
        raise BackendError(
            "vitref.backends.check, share",
            found=repr(share),
            expected="a number above 0, such as 0.1, and at most 20",
            remedy="Give such a share.",
        )
    if importlib.util.find_spec("hypothesis") is None:
        raise BackendError(
            "vitref.backends.check",
            found="Hypothesis not installed",
            expected="it, for the property suite",
            remedy='Install it with pip install "vitref[test]".',
        )
    failures: list[Any] = importlib.import_module("vitref.testing.backend").check(backend, share)
    return failures


def _creator(name: str) -> Callable[..., Any]:
    if name in MODULES:
        create: Callable[..., Any] = importlib.import_module(MODULES[name]).create
        return create
    return third_party.creator(name, third_party.found()[name])


def _made(name: str, create: Callable[..., Any], options: dict[str, Any]) -> Backend:
    accepted = inspect.signature(create).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    if not anything and not options.keys() <= accepted.keys():
        raise _wrong_options(name, options, f"options among: {', '.join(accepted) or 'none'}")
    backend = create(**options)
    if not isinstance(backend, Backend):
        raise BackendError(
            f"backend {name}",
            found=f"a {type(backend).__name__} made by {create.__module__}.{create.__qualname__}",
            expected="a vitref.backends.interface.Backend",
            remedy="Correct the package that offers this backend.",
        )
    return backend


def _reason(name: str) -> str | None:
    try:
        get(name)
    except BackendError as error:
        return str(error)
    return None


def _unknown(name: Any) -> BackendError:
    names = [*MODULES, *(name for name in third_party.found() if name not in MODULES)]
    close = get_close_matches(name.lower(), names, n=1) if isinstance(name, str) else []
    remedy = f"Did you mean {close[0]!r}?" if close else "Name one of these."
    return BackendError("backend", found=repr(name), expected=f"one of {', '.join(names)}", remedy=remedy)


def _unavailable(name: str, error: Exception) -> BackendError:
    """The error for whatever importing or making a backend raised."""
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    wanted = f'"vitref[{EXTRAS[name]}]"' if name in EXTRAS else str(module or "")
    if module and not module.startswith("vitref."):
        return BackendError(
            f"backend {name}",
            found=f"the module {module} not installed",
            expected="it, which this backend needs",
            remedy=f"Install it with pip install {wanted}.",
        )
    remedy = "Remove the cause, or use another backend."
    if wanted and isinstance(error, (AttributeError, ImportError)):
        remedy = f"Try pip install --upgrade {wanted}."
    return BackendError(
        f"backend {name}",
        found=f"{type(error).__name__}: {error}",
        expected="a backend that can be set up on this machine",
        remedy=remedy,
    )


def _taken(usurper: str, name: str) -> BackendError:
    return BackendError(
        f"backend {usurper}",
        found=f"the name {name!r}, which is vitref's own",
        expected="another name",
        remedy="Rename the entry point of that package.",
    )


def _wrong_options(name: str, options: dict[str, Any], expected: str) -> BackendError:
    found = ", ".join(f"{option}={value!r}" for option, value in options.items())
    return BackendError(f"backend {name}", found=found, expected=expected, remedy="Leave the others out.")
