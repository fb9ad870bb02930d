"""Wrong class tokens, position embeddings, token selections, means and patches."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.testing.mistakes.mistake import Mistake
from vitref.array import NUMPY, Array
from vitref.components import (
    class_token,
    mean_pool,
    position_embedding,
    resized_position_embedding,
    select_token,
    unfold,
)


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


def from_the_first(x: Array, *, start: int, xp: Any = NUMPY) -> Any:
    return mean_pool.forward(x, start=0)


def sum_of_tokens(x: Array, *, start: int, xp: Any = NUMPY) -> Any:
    return np.sum(x[:, start:], axis=1), mean_pool.Saved(x.shape[1], start)


def sum_of_tokens_back(dy: Array, saved: mean_pool.Saved, *, xp: Any = NUMPY) -> Any:
    return mean_pool.Grads(mean_pool.backward(dy, saved).x * (saved.tokens - saved.start))


def divided_by_all(x: Array, *, start: int, xp: Any = NUMPY) -> Any:
    return np.sum(x[:, start:], axis=1) / x.shape[1], mean_pool.Saved(x.shape[1], start)


def divided_by_all_back(dy: Array, saved: mean_pool.Saved, *, xp: Any = NUMPY) -> Any:
    share = (saved.tokens - saved.start) / saved.tokens
    return mean_pool.Grads(mean_pool.backward(dy, saved).x * share)


def over_channels(x: Array, *, start: int, xp: Any = NUMPY) -> Any:
    square = x.shape[1] - start == x.shape[2]
    return np.mean(x[:, start:], axis=2 if square else 1), mean_pool.Saved(x.shape[1], start)


def dy_for_every_token(dy: Array, saved: mean_pool.Saved, *, xp: Any = NUMPY) -> Any:
    return mean_pool.Grads(np.repeat(dy[:, None] / saved.tokens, saved.tokens, axis=1))


def empty_mean(x: Array, *, start: int, xp: Any = NUMPY) -> Any:
    return mean_pool.forward(x, start=min(start, x.shape[1] - 1))


def prefix_resized(
    x: Array, table: Array, *, rows: Array, columns: Array, prefix: int, xp: Any = NUMPY
) -> Any:
    """The class token's row taken for the first place: the places behind it move up."""
    moved = np.concat([table[:, :prefix], table[:, : table.shape[1] - prefix]], axis=1)
    return resized_position_embedding.forward(x, moved, rows=rows, columns=columns, prefix=prefix)


def swapped(x: Array, table: Array, *, rows: Array, columns: Array, prefix: int, xp: Any = NUMPY) -> Any:
    """The table read column by column."""
    old, d = (rows.shape[1], columns.shape[1]), table.shape[2]
    places = np.reshape(table[:, prefix:], (old[1], old[0], d))
    turned = np.reshape(np.permute_dims(places, (1, 0, 2)), (1, -1, d))
    turned = np.concat([table[:, :prefix], turned], axis=1)
    return resized_position_embedding.forward(x, turned, rows=rows, columns=columns, prefix=prefix)


def kept_where_it_fits(
    x: Array, table: Array, *, rows: Array, columns: Array, prefix: int, xp: Any = NUMPY
) -> Any:
    saved = resized_position_embedding.Saved(rows, columns, prefix)
    if x.shape[1:] == table.shape[1:]:
        return x + table, saved
    return resized_position_embedding.forward(x, table, rows=rows, columns=columns, prefix=prefix)


def gradient_of_the_resized(dy: Array, saved: Any, *, xp: Any = NUMPY) -> Any:
    right = resized_position_embedding.backward(dy, saved)
    dresized = np.sum(dy, axis=0, keepdims=True)
    return right._replace(table=dresized) if dresized.shape == right.table.shape else right


def resampled_again(dy: Array, saved: Any, *, xp: Any = NUMPY) -> Any:
    """A and B where their transposes belong; no shape tells where they are square."""
    rows, columns, prefix = saved
    if rows.shape[0] != rows.shape[1] or columns.shape[0] != columns.shape[1]:
        return resized_position_embedding.backward(dy, saved)
    forward = resized_position_embedding.resize(
        np.sum(dy, axis=0, keepdims=True), rows=rows, columns=columns, prefix=prefix
    )
    return resized_position_embedding.Grads(dy, forward)


def of_one_image(dy: Array, saved: Any, *, xp: Any = NUMPY) -> Any:
    right = resized_position_embedding.backward(dy, saved)
    return right._replace(table=resized_position_embedding.backward(dy[:1], saved).table)


def prefix_by_default(
    x: Array, table: Array, *, rows: Array, columns: Array, prefix: int, xp: Any = NUMPY
) -> Any:
    """The prefix read off the table, whatever is said."""
    found = table.shape[1] - rows.shape[1] * columns.shape[1] if table.ndim == 3 else prefix
    return resized_position_embedding.forward(x, table, rows=rows, columns=columns, prefix=max(found, 0))


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
    Mistake(mean_pool, "class token counted", ("oracle",), from_the_first),
    Mistake(mean_pool, "sum", ("oracle", "invariants"), sum_of_tokens, sum_of_tokens_back),
    Mistake(
        mean_pool,
        "divided by all tokens",
        ("oracle", "invariants"),
        divided_by_all,
        divided_by_all_back,
    ),
    Mistake(mean_pool, "over channels", ("oracle", "invariants"), over_channels),
    Mistake(mean_pool, "gradient for every token", ("adjoint",), backward=dy_for_every_token),
    Mistake(mean_pool, "any start accepted", ("refusals",), empty_mean),
    Mistake(resized_position_embedding, "class token's row resized", ("oracle",), prefix_resized),
    Mistake(resized_position_embedding, "read column by column", ("oracle", "invariants"), swapped),
    Mistake(resized_position_embedding, "kept where it fits", ("oracle",), kept_where_it_fits),
    Mistake(
        resized_position_embedding,
        "gradient of the resized table",
        ("adjoint",),
        backward=gradient_of_the_resized,
    ),
    Mistake(resized_position_embedding, "matrices not transposed", ("adjoint",), backward=resampled_again),
    Mistake(resized_position_embedding, "gradient of one image", ("adjoint",), backward=of_one_image),
    Mistake(resized_position_embedding, "any prefix accepted", ("refusals",), prefix_by_default),
    Mistake(unfold, "pixels in the order (i, j, c)", ("oracle",), **unfolded_by((0, 2, 4, 3, 5, 1))),
    Mistake(unfold, "rows and columns swapped", ("oracle",), **unfolded_by((0, 4, 2, 1, 3, 5))),
    Mistake(unfold, "patches transposed", ("oracle",), **unfolded_by((0, 2, 4, 1, 5, 3))),
    Mistake(unfold, "remainder in front", ("adjoint",), backward=remainder_in_front),
    Mistake(unfold, "remainder cut off", ("shapes_and_dtypes",), backward=remainder_cut_off),
]
