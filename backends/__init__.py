"""Backends by name: imported when asked for, with the reason when one is unavailable."""

import importlib
import inspect
from typing import Any

from vitref.backends.interface import Backend
from vitref.errors import BackendError

MODULES = {"numpy": "vitref.backends.numpy_backend"}
"""Name -> module with `create(**options) -> Backend`."""


def get(name: str | Backend, **options: Any) -> Backend:
    """The backend of this name, with its options; a Backend is returned as it is.

    Raises BackendError when the name or an option is unknown, or the backend is unavailable here.
    """
    if isinstance(name, Backend):
        if options:
            raise _wrong_options(name.name, options, "none beside a Backend object")
        return name
    if not isinstance(name, str) or name not in MODULES:
        raise BackendError(
            "backend", found=repr(name), expected=f"one of {', '.join(MODULES)}", remedy="Name one of these."
        )
    create = importlib.import_module(MODULES[name]).create
    accepted = inspect.signature(create).parameters
    if not options.keys() <= accepted.keys():
        raise _wrong_options(name, options, f"options among: {', '.join(accepted) or 'none'}")
    backend: Backend = create(**options)
    return backend


def _wrong_options(name: str, options: dict[str, Any], expected: str) -> BackendError:
    found = ", ".join(f"{option}={value!r}" for option, value in options.items())
    return BackendError(f"backend {name}", found=found, expected=expected, remedy="Leave the others out.")


def available() -> dict[str, str | None]:
    """Name -> None when the backend can be used here, else the reason why it cannot."""
    reasons: dict[str, str | None] = {}
    for name in MODULES:
        try:
            get(name)
            reasons[name] = None
        except BackendError as error:
            reasons[name] = str(error)
    return reasons
