"""Wrong class tokens, position embeddings, token selections and patches."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.testing.mistakes.mistake import Mistake
from vitref.array import NUMPY, Array
from vitref.components import class_token, position_embedding, select_token, unfold


def appended(x: Array, token: Array, *, xp: Any = NUMPY) -> Any:
    return np.concat([x, np.broadcast_to(token, (len(x), 1, x.shape[2]))], axis=1), None


def appended_back(dy: Array, saved: None, *, xp: Any = NUMPY) -> Any:
    return class_token.Grads(dy[:, :-1], np.sum(dy[:, -1:], axis=0, keepdims=True))


def token_of_one_image(dy: Array, saved: None, *, xp: Any = NUMPY) -> Any:
    return class_token.Grads(dy[:, 1:], dy[:1, :1])


def token_by_index(x: Array, token: Array, *, xp: Any = NUMPY) -> Any:
    table = token * np.arange(1, len(x) + 1, dtype=x.dtype).reshape(-1, 1, 1)
    return np.concat([table, x], axis=1), None


def token_by_index_back(dy: Array, saved: None, *, xp: Any = NUMPY) -> Any:
    factors = np.arange(1, len(dy) + 1, dtype=dy.dtype).reshape(-1, 1, 1)
    return class_token.Grads(dy[:, 1:], np.sum(dy[:, :1] * factors, axis=0, keepdims=True))


def table_reversed(x: Array, table: Array, *, xp: Any = NUMPY) -> Any:
    return position_embedding.forward(x, table[:, ::-1])


def table_reversed_back(dy: Array, saved: None, *, xp: Any = NUMPY) -> Any:
    dx, dtable = position_embedding.backward(dy, saved)
    return position_embedding.Grads(dx, dtable[:, ::-1])


def table_averaged(dy: Array, saved: None, *, xp: Any = NUMPY) -> Any:
    return position_embedding.Grads(dy, np.mean(dy, axis=0, keepdims=True))


def table_broadcast(x: Array, table: Array, *, xp: Any = NUMPY) -> Any:
    return x + table, None


def next_token(x: Array, *, index: int, xp: Any = NUMPY) -> Any:
    return select_token.forward(x, index=(index + 1) % x.shape[1])


def last_token(x: Array, *, index: int, xp: Any = NUMPY) -> Any:
    return x[:, -1], select_token.Saved(x.shape[1], x.shape[1] - 1)


def spread_over_tokens(dy: Array, saved: select_token.Saved, *, xp: Any = NUMPY) -> Any:
    return select_token.Grads(np.repeat(dy[:, None], saved.tokens, axis=1))


def any_index(x: Array, *, index: int, xp: Any = NUMPY) -> Any:
    return x[:, index % x.shape[1]], select_token.Saved(x.shape[1], index % x.shape[1])


def unfolded_by(axes: tuple[int, ...]) -> dict[str, Callable[..., Any]]:
    """Patches read in another order of (n, c, rows, h, columns, w); backward undoes it."""

    def forward(image: Array, *, patch_size: tuple[int, int], xp: Any = NUMPY) -> Any:
        (n, c, height, width), (h, w) = image.shape, patch_size
        rows, columns = height // h, width // w
        x = np.reshape(image[:, :, : rows * h, : columns * w], (n, c, rows, h, columns, w))
        y = np.reshape(np.permute_dims(x, axes), (n, rows * columns, c * h * w))
        return y, unfold.Saved(image.shape, patch_size)

    def backward(dy: Array, saved: unfold.Saved, *, xp: Any = NUMPY) -> Any:
        (n, c, height, width), (h, w) = saved
        shape = (n, c, height // h, h, width // w, w)
        x = np.permute_dims(np.reshape(dy, [shape[axis] for axis in axes]), np.argsort(axes).tolist())
        x = np.reshape(x, (n, c, shape[2] * h, shape[4] * w))
        wider = ((0, 0), (0, 0), (0, height % h), (0, width % w))
        return unfold.Grads(np.pad(x, wider))

    return {"forward": forward, "backward": backward}


def remainder_in_front(dy: Array, saved: unfold.Saved, *, xp: Any = NUMPY) -> Any:
    (_, _, height, width), (h, w) = saved
    return unfold.Grads(np.roll(unfold.backward(dy, saved).image, (height % h, width % w), axis=(2, 3)))


def remainder_cut_off(dy: Array, saved: unfold.Saved, *, xp: Any = NUMPY) -> Any:
    (_, _, height, width), (h, w) = saved
    return unfold.Grads(unfold.backward(dy, saved).image[:, :, : height - height % h, : width - width % w])


MISTAKES = [
    Mistake(class_token, "appended last", ("oracle", "invariants"), appended, appended_back),
    Mistake(class_token, "gradient of one image", ("adjoint",), backward=token_of_one_image),
    Mistake(class_token, "differs by image", ("oracle",), token_by_index, token_by_index_back),
    Mistake(position_embedding, "table reversed", ("oracle",), table_reversed, table_reversed_back),
    Mistake(position_embedding, "gradient averaged", ("adjoint",), backward=table_averaged),
    Mistake(position_embedding, "table broadcast", ("refusals",), table_broadcast),
    Mistake(select_token, "the next token", ("oracle", "invariants"), next_token),
    Mistake(select_token, "the last token", ("oracle", "invariants"), last_token),
    Mistake(select_token, "gradient for every token", ("adjoint",), backward=spread_over_tokens),
    Mistake(select_token, "any index accepted", ("refusals",), any_index),
    Mistake(unfold, "pixels in the order (i, j, c)", ("oracle",), **unfolded_by((0, 2, 4, 3, 5, 1))),
    Mistake(unfold, "rows and columns swapped", ("oracle",), **unfolded_by((0, 4, 2, 1, 3, 5))),
    Mistake(unfold, "patches transposed", ("oracle",), **unfolded_by((0, 2, 4, 1, 5, 3))),
    Mistake(unfold, "remainder in front", ("adjoint",), backward=remainder_in_front),
    Mistake(unfold, "remainder cut off", ("shapes_and_dtypes",), backward=remainder_cut_off),
]
