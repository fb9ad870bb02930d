"""Backends by name: imported when asked for, with the reason when one is unavailable."""

import importlib
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
        return name
    if not isinstance(name, str) or name not in MODULES:
        raise BackendError(
            "backend", found=repr(name), expected=f"one of {', '.join(MODULES)}", remedy="Name one of these."
        )
    try:
        backend: Backend = importlib.import_module(MODULES[name]).create(**options)
    except TypeError as error:
        raise BackendError(
            f"backend {name}",
            found=f"options {options}",
            expected="options of this backend",
            remedy=f"{error}.",
        ) from None
    return backend


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
