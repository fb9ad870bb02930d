"""What a capture imports: optional libraries, and the user's own code by the name that the user gave."""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from vitref.errors import BackendError, ConfigError, Error

EXTRAS = {"torch": "torch", "onnx": "onnx", "onnxruntime": "onnx"}
"""Library -> the extra of vitref that brings it."""

HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
"""Lines of this folder call the user's code, and are not it."""


def library(name: str) -> Any:
    """An optional library. Raises BackendError that says what to install when it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendError(
            name,
            found=f"no usable {name} ({error})",
            expected=f"{name}, which a capture of this kind runs",
            remedy=f"Install it: pip install {name}, or pip install 'vitref[{EXTRAS[name]}]'.",
        ) from None


def named(text: str, option: str) -> Any:
    """What "package.module:name" or "file.py:name" names; the current folder is searched first.

    Raises ConfigError when there is no such thing, or importing it fails.
    """
    where = f"{option} {text}"
    module, colon, name = text.rpartition(":")
    if not colon or not module or not name.isidentifier():
        raise ConfigError(
            where,
            found="no MODULE:NAME",
            expected="a module or a Python file, and a name in it",
            remedy="Write my_package.my_model:build, or my_model.py:build.",
        )
    if module.endswith(".py") and not os.path.isfile(module):
        raise ConfigError(
            where, found=f"no file {module}", expected="a Python file", remedy="Correct the path."
        )
    with users_code(where, "a module that can be imported"):
        found = _file(module) if module.endswith(".py") else _module(module)
    if not hasattr(found, name):
        raise ConfigError(
            where, found=f"no {name} in {module}", expected="a name in it", remedy="Correct the name."
        )
    return getattr(found, name)


@contextmanager
def users_code(where: str, expected: str) -> Iterator[None]:
    """What the user's code raises, as one ConfigError with its message and the line that it comes from.

    A script that ends the program by sys.exit has not computed anything either.
    """
    try:
        yield
    except Error:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        own = [frame for frame in frames if not frame.filename.startswith(HERE)]
        own = [frame for frame in own if "site-packages" not in frame.filename] or own
        last = next(reversed(own or frames), None)
        line = f", at {last.filename} line {last.lineno}: {last.line}" if last else ""
        raise ConfigError(
            where,
            found=f"{type(error).__name__}: {error}{line}",
            expected=expected,
            remedy="Correct the code that is named; it is not vitref's.",
        ) from error


def _module(name: str) -> ModuleType:
    with _first_on_path(os.getcwd()):
        return importlib.import_module(name)


def _file(path: str) -> ModuleType:
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _first_on_path(os.path.dirname(os.path.abspath(path))):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
