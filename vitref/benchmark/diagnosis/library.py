"""PyTorch, imported when it is first used: the list of bugs can be read without it."""

import importlib
from typing import Any

from vitref.errors import BackendError


class _Later:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            library = importlib.import_module("torch")
        except ImportError as error:
            raise BackendError(
                "vitref bench diagnose",
                found=f"no PyTorch ({error})",
                expected="PyTorch, in which the bugs are planted",
                remedy="Install it with pip install torch.",
            ) from None
        return getattr(library, name)


torch: Any = _Later()
