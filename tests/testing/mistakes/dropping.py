"""Wrong dropout, DropPath and LayerScale."""

from typing import Any

import numpy as np

from tests.testing.mistakes.mistake import Mistake
from vitref.array import NUMPY, Array
from vitref.components import drop_path, dropout, layer_scale


def unscaled(x: Array, *, mask: Array, rate: float, xp: Any = NUMPY) -> Any:
    return dropout.forward(x, mask=mask, rate=0.0)


def scaled_by_rate(x: Array, *, mask: Array, rate: float, xp: Any = NUMPY) -> Any:
    return dropout.forward(x, mask=mask, rate=1 - 1 / (1 + rate))


def kept_for_dropped(x: Array, *, mask: Array, rate: float, xp: Any = NUMPY) -> Any:
    return dropout.forward(x, mask=1 - mask, rate=rate)


def new_mask(dy: Array, saved: dropout.Saved, *, xp: Any = NUMPY) -> Any:
    return dropout.backward(dy, saved._replace(mask=np.flip(saved.mask)))


def unscaled_back(dy: Array, saved: dropout.Saved, *, xp: Any = NUMPY) -> Any:
    return dropout.Grads(dy * saved.mask)


def one_for_all_places(x: Array, *, mask: Array, rate: float, xp: Any = NUMPY) -> Any:
    return dropout.forward(x, mask=mask[(0,) * mask.ndim] + 0 * mask, rate=rate)


def any_rate(x: Array, *, mask: Array, rate: float, xp: Any = NUMPY) -> Any:
    return dropout.forward(x, mask=mask, rate=min(max(rate, 0.0), 0.9))


def any_path_rate(x: Array, *, mask: Array, rate: float, xp: Any = NUMPY) -> Any:
    return drop_path.forward(x, mask=mask, rate=min(max(rate, 0.0), 0.9))


def broadcast_mask(x: Array, *, mask: Array, rate: float, xp: Any = NUMPY) -> Any:
    return dropout.forward(x, mask=np.broadcast_to(mask, x.shape), rate=rate)


def one_for_the_batch(x: Array, *, mask: Array, rate: float, xp: Any = NUMPY) -> Any:
    return drop_path.forward(x, mask=mask[0] + 0 * mask, rate=rate)


def along_the_last_axis(x: Array, *, mask: Array, rate: float, xp: Any = NUMPY) -> Any:
    """One bit per channel, which fits where a batch has as many images as channels."""
    if x.shape[-1] != x.shape[0]:
        return drop_path.forward(x, mask=mask, rate=rate)
    return dropout.forward(x, mask=np.broadcast_to(mask, x.shape), rate=rate)


def path_unscaled(x: Array, *, mask: Array, rate: float, xp: Any = NUMPY) -> Any:
    return drop_path.forward(x, mask=mask, rate=0.0)


def other_images_back(dy: Array, saved: drop_path.Saved, *, xp: Any = NUMPY) -> Any:
    turned = saved._replace(mask=np.roll(saved.mask, 1, axis=0))
    return drop_path.backward(dy, turned)


def gamma_plus_one(x: Array, gamma: Array, *, xp: Any = NUMPY) -> Any:
    return layer_scale.forward(x, gamma + 1)


def gamma_dropped(x: Array, gamma: Array, *, xp: Any = NUMPY) -> Any:
    return x + 0 * gamma, layer_scale.Saved(x, gamma)


def gamma_dropped_back(dy: Array, saved: layer_scale.Saved, *, xp: Any = NUMPY) -> Any:
    return layer_scale.Grads(dy, 0 * saved.gamma)


def gamma_broadcast(x: Array, gamma: Array, *, xp: Any = NUMPY) -> Any:
    return x * gamma, layer_scale.Saved(x, gamma)


def unscaled_dx(dy: Array, saved: layer_scale.Saved, *, xp: Any = NUMPY) -> Any:
    return layer_scale.backward(dy, saved)._replace(x=dy)


def dgamma_of_one_row(dy: Array, saved: layer_scale.Saved, *, xp: Any = NUMPY) -> Any:
    right = layer_scale.backward(dy, saved)
    return right if dy.ndim == 1 else right._replace(gamma=(dy * saved.x)[(0,) * (dy.ndim - 1)])


def dgamma_averaged(dy: Array, saved: layer_scale.Saved, *, xp: Any = NUMPY) -> Any:
    rows = np.reshape(dy * saved.x, (-1, dy.shape[-1]))
    return layer_scale.backward(dy, saved)._replace(gamma=np.mean(rows, axis=0))


MISTAKES = [
    Mistake(dropout, "scale forgotten", ("oracle",), unscaled),
    Mistake(dropout, "scaled by 1 + rate", ("oracle",), scaled_by_rate),
    Mistake(dropout, "dropped what is to be kept", ("oracle", "invariants"), kept_for_dropped),
    Mistake(dropout, "another mask for the backward pass", ("adjoint", "invariants"), backward=new_mask),
    Mistake(dropout, "scale forgotten in dx", ("adjoint", "invariants"), backward=unscaled_back),
    Mistake(dropout, "one bit for everything", ("oracle",), one_for_all_places),
    Mistake(dropout, "any rate accepted", ("refusals",), any_rate),
    Mistake(dropout, "mask broadcast", ("refusals",), broadcast_mask),
    Mistake(drop_path, "one bit for the batch", ("oracle", "invariants"), one_for_the_batch),
    Mistake(drop_path, "one bit per channel", ("oracle", "invariants"), along_the_last_axis),
    Mistake(drop_path, "scale forgotten", ("oracle",), path_unscaled),
    Mistake(drop_path, "bits of other images in dx", ("adjoint", "invariants"), backward=other_images_back),
    Mistake(drop_path, "any rate accepted", ("refusals",), any_path_rate),
    Mistake(layer_scale, "1 + gamma", ("oracle", "invariants"), gamma_plus_one),
    Mistake(layer_scale, "gamma dropped", ("oracle",), gamma_dropped, gamma_dropped_back),
    Mistake(layer_scale, "gamma broadcast", ("refusals",), gamma_broadcast),
    Mistake(layer_scale, "gamma left out of dx", ("adjoint", "invariants"), backward=unscaled_dx),
    Mistake(layer_scale, "dgamma of one row", ("adjoint", "invariants"), backward=dgamma_of_one_row),
    Mistake(layer_scale, "dgamma averaged", ("adjoint", "invariants"), backward=dgamma_averaged),
]
