"""What a torch module must be to be captured, and the image as it takes it."""

from typing import Any

import ml_dtypes
import numpy as np

from vitref.errors import ConfigError
from vitref.verify.capture.hosts import image_of

SHOWN = 3
"""Modules named in an error."""


def check_model(torch: Any, model: Any) -> None:
    """Raise ConfigError for what is no module, hides its parts, is in training, or has no values."""
    if not isinstance(model, torch.nn.Module):
        raise _wrong(f"a {type(model).__name__}", "an nn.Module", "Give the model itself.")
    if isinstance(model, torch.jit.ScriptModule) or hasattr(model, "_orig_mod"):
        remedy = "Give the module from before torch.compile (model._orig_mod) or torch.jit."
        raise _wrong("a compiled module, inside which nothing can be seen", "a plain nn.Module", remedy)
    if isinstance(model, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        raise _wrong(f"a {type(model).__name__}", "the module inside it", "Give model.module.")
    training = [path or "the model itself" for path, module in model.named_modules() if module.training]
    if training:
        more = f" and {len(training) - SHOWN} more" if len(training) > SHOWN else ""
        found = f"modules in training mode ({', '.join(training[:SHOWN])}{more})"
        remedy = "Call model.eval() first, so that dropout and DropPath are off."
        raise _wrong(found, "all in evaluation mode", remedy)
    if any(parameter.is_meta for parameter in model.parameters()):
        raise _wrong("parameters without values, on the meta device", "a loaded model", "Load its weights.")


def image_tensor(torch: Any, model: Any, image: Any) -> Any:
    """The image as a new tensor of the model's device and dtype, (N, C, H, W).

    Raises ImageError for what is no preprocessed image.
    """
    array = image_of(image)
    bits = array.dtype == ml_dtypes.bfloat16  # which every wider format holds
    tensor = torch.from_numpy(np.array(array, dtype=np.float32 if bits else None))
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    if first is None:
        return tensor.to(torch.bfloat16) if bits else tensor
    return tensor.to(first.device, first.dtype)


def _wrong(found: str, expected: str, remedy: str) -> ConfigError:
    return ConfigError("the model", found=found, expected=expected, remedy=remedy)
