"""Kernels in CUDA C++ (folder `cuda`), one module per component; `kernels` binds them to a device.

A module's functions take the setting `device`, and those that multiply matrices `math` too: they list
what they take in SETTINGS where it is more than the device. A component without a kernel runs as it
stands; in 16 bits through `widened`.
"""

import importlib
import pkgutil
from typing import Any

from vitref import components
from vitref.backends.cupy_kernels import widened
from vitref.backends.cupy_kernels.device import Device
from vitref.backends.interface import Kernel, bound

COMPONENTS = (
    "attention_core",
    "block",
    "cross_entropy",
    "embed",
    "gelu",
    "layer_norm",
    "linear",
    "mlp",
    "patch_projection",
    "sigmoid_cross_entropy",
    "softmax",
    "unfold",
)
"""What has a kernel, by the name of the component."""


EXACT = ("identity", "merge_heads", "select_token", "split_heads")
"""What only moves elements, both ways: nothing to widen."""


def kernels(device: Device, math: str) -> dict[str, Kernel]:
    """Component -> its kernel on this device, with float32 matrices multiplied in this way."""
    settings: dict[str, Any] = {"device": device, "math": math}
    found: dict[str, Kernel] = {}
    for name in (module.name for module in pkgutil.iter_modules(components.__path__)):
        if name not in EXACT:
            found[name] = widened.kernel(importlib.import_module(f"{components.__name__}.{name}"))
    for name in COMPONENTS:
        module = importlib.import_module(f"{__name__}.{name}")
        taken = getattr(module, "SETTINGS", ("device",))
        found[name] = bound(module, **{setting: settings[setting] for setting in taken})
    return found
