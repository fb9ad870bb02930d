"""The graph on JAX: its arrays, operation by operation, without kernels, tracing or autograd."""

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np

from vitref.array import VOCABULARY, Array, HostArray
from vitref.backends.interface import Backend
from vitref.errors import BackendError

jax: Any = importlib.import_module("jax")
jnp: Any = importlib.import_module("jax.numpy")
special: Any = importlib.import_module("jax.scipy.special")

allow_float64 = partial(jax.enable_x64, True)
"""() -> context manager without which JAX makes float32 of float64; it concerns one thread only."""

NAMESPACE = SimpleNamespace(
    **{name: getattr(jnp, name) for name in VOCABULARY if name != "erf"}, erf=special.erf
)


def create(device: str | None = None) -> Backend:
    """The backend `jax` on a device by its platform and number: "cpu", "gpu", "gpu:1"; JAX's own choice
    unless given.

    Raises BackendError when there is no such device here.
    """
    return _create(_device(device))


@cache
def _create(device: Any) -> Backend:
    return Backend(
        name="jax",
        xp=NAMESPACE,
        from_host=partial(from_host, device=device),
        to_host=to_host,
        dtypes=("float32", "float64"),
        scope=partial(scope, device),
        from_dlpack=partial(from_dlpack, device=device),
        on_device=True,
        versions={
            "jax": jax.__version__,
            "jaxlib": version("jaxlib"),
            "device": f"{device.platform}:{device.id}, {device.device_kind}",
        },
    )


def from_host(array: HostArray, dtype: str, *, device: Any) -> Array:
    """A copy on the device."""
    with allow_float64():
        return jnp.array(np.asarray(array, dtype=dtype), device=device)


def to_host(array: Array) -> HostArray:
    """A copy, which is the caller's own."""
    return np.array(array)


def from_dlpack(array: Any, *, device: Any) -> Array:
    """A JAX array in the same memory. Raises BackendError when that is not on `device`."""
    try:
        with allow_float64():
            shared = array if isinstance(array, jax.Array) else jnp.from_dlpack(array)
        found = f"memory of {', '.join(map(str, shared.devices()))}"
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as error:
        shared, found = None, f"one that JAX cannot take: {error}"
    if shared is None or shared.devices() != {device}:
        raise BackendError(
            "array",
            found=found,
            expected=f"one of {device}",
            remedy='Move it there, or give vitref.backends.get("jax", device=...) the device it is on.',
        )
    return shared


@contextmanager
def scope(device: Any) -> Iterator[None]:
    """float64 allowed, products of float32 matrices in full, new arrays on this device."""
    with ExitStack() as stack:
        stack.enter_context(allow_float64())
        stack.enter_context(jax.default_matmul_precision("highest"))
        stack.enter_context(jax.default_device(device))
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise BackendError(
                f"device {device}",
                found=f"too little memory: {str(error).splitlines()[0]}",
                expected="memory for every activation of the batch",
                remedy="Give fewer images at a time.",
            ) from error


def _device(name: Any) -> Any:
    """Raises BackendError unless JAX knows the platform and has a device of this number."""
    try:
        if name is None:
            return jax.devices()[0]
        platform, _, number = str(name).partition(":")
        return next(device for device in jax.devices(platform) if device.id == int(number or 0))
    except Exception as error:  # JAX has a type for each way in which a device can be missing
        raise BackendError(
            "backend jax, device",
            found=f"{name!r}: {str(error) or 'no such number'}",
            expected=f"a device of JAX: {', '.join(f'{d.platform}:{d.id}' for d in jax.devices())}",
            remedy="Leave it out, or install a JAX and a driver for that device.",
        ) from error
