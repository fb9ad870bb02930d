"""Labels of a batch, checked: what a loss is given."""

import numbers
from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.errors import ConfigError

ROUNDING = 1e-3
"""How far from 1 the sum of a row of probabilities may lie: they may come from float16."""


def check(labels: Any, n: int, classes: int, loss: str, smoothing: float, dtype: str) -> HostArray:
    """int64 (N,), or numbers (N, classes) in `dtype`.

    labels     integers (N,) from 0 to classes - 1; or (N, classes): probabilities whose rows sum to 1
               for loss "cross_entropy", numbers from 0 to 1 for "sigmoid"; 0 and 1 may be integers
    smoothing  s: every label t becomes (1 - s) t + s / classes (Szegedy et al. 2015, arXiv:1512.00567,
               section 7); 0 leaves them as they are

    Raises ConfigError for anything else.
    """
    if not classes:
        raise ConfigError(
            "labels",
            found="labels for a model without classifier",
            expected="a cotangent",
            remedy="Give cotangent= for one of its outputs.",
        )
    if not isinstance(smoothing, numbers.Real) or isinstance(smoothing, bool) or not 0 <= smoothing < 1:
        raise ConfigError(
            "label_smoothing",
            found=repr(smoothing),
            expected="a number of at least 0 and below 1",
            remedy="Give another label_smoothing=.",
        )
    checked = _checked(labels, n, classes, loss, dtype)
    return _smooth(checked, classes, float(smoothing), dtype) if smoothing else checked


def _checked(labels: Any, n: int, classes: int, loss: str, dtype: str) -> HostArray:
    rows = "probabilities" if loss == "cross_entropy" else "numbers from 0 to 1"
    rows = f"{rows} (floats, or integers 0 and 1)"
    count = "one integer" if n == 1 else f"{n} integers"
    expected = f"{count} from 0 to {classes - 1}, or {rows} of shape ({n}, {classes})"

    def wrong(found: str, remedy: str) -> ConfigError:
        return ConfigError("labels", found=found, expected=expected, remedy=remedy)

    try:
        array = np.atleast_1d(np.asarray(labels))
    except (TypeError, ValueError):
        raise wrong("rows of different lengths, or no numbers", "Give one label per image.") from None
    if isinstance(labels, np.ma.MaskedArray):
        raise wrong("a masked array", "Leave out the images without label.")
    found = f"shape {array.shape}, dtype {array.dtype}"
    if array.dtype.kind in "iu" and array.shape == (n,):
        outside = array[(array < 0) | (array >= classes)]
        if outside.size:
            raise wrong(f"{', '.join(map(str, outside[:5]))}", "Count the classes from 0.")
        return array.astype(np.int64)
    if array.dtype.kind in "fiu" and array.shape == (n, classes):
        if not np.isfinite(array).all() or (array < 0).any() or (array > 1).any():
            raise wrong(f"{found}, with numbers outside 0 to 1", f"Give {rows}.")
        if loss == "cross_entropy" and (abs(array.sum(axis=1, dtype=np.float64) - 1) > ROUNDING).any():
            raise wrong(f"{found}, with rows that do not sum to 1", "Divide each row by its sum.")
        return array.astype(dtype)
    raise wrong(found, f"Give one integer per image, or one row of {rows} per image.")


def _smooth(labels: HostArray, classes: int, smoothing: float, dtype: str) -> HostArray:
    rows = np.eye(classes)[labels] if labels.ndim == 1 else labels.astype(np.float64)
    return ((1 - smoothing) * rows + smoothing / classes).astype(dtype)
