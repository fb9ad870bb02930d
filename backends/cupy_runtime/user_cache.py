"""Files in the user's cache folder: compiled kernels, and choices that took time to make.

A cache may be lost or locked at any time, so nothing here raises an OSError.
"""

import os
import sys
import tempfile
from pathlib import Path

VARIABLE = "VITREF_CACHE"
"""An environment variable that names another folder."""


def folder() -> Path:
    """VITREF_CACHE, or `vitref` in the user's cache folder of this system."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "vitref" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "vitref"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitref"


def read(name: str) -> bytes | None:
    """What was last written under this name; None when there is nothing that can be read."""
    try:
        return (folder() / name).read_bytes()
    except (OSError, RuntimeError):
        return None


def write(name: str, content: bytes) -> bool:
    """Write a whole file or nothing; False when that was not possible."""
    try:
        target = folder() / name
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(partial, target)
        except BaseException:
            os.unlink(partial)
            raise
    except (OSError, RuntimeError):
        return False
    return True
