"""Batches one after another: the next one is made ready while this one is computed."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vitref.array import Array
from vitref.call import Call, output


def streamed(prepare: Callable[[Any], Call], batches: Iterable[Any]) -> Iterator[Any]:
    """`call.result(output(call))` of each batch.

    One batch is prepared ahead, in a thread of its own; the result of a batch is fetched after the next
    one was started, so that a device never waits for the host. A call is held until its result is there:
    its image may not be given back to the device's memory before.
    """
    remaining, waiting = iter(batches), deque[tuple[Call, Array, int]]()
    size = 0

    def ready() -> Call | None:
        for batch in remaining:
            return prepare(batch)
        return None

    with ThreadPoolExecutor(1, thread_name_prefix="vitref-stream") as ahead:
        coming = ahead.submit(ready)
        while (call := coming.result()) is not None:
            coming = ahead.submit(ready)
            images = call.image.shape[0]
            size = size or images
            call = filled(call, size)
            waiting.append((call, output(call), images))
            if len(waiting) > 1:
                yield fetched(*waiting.popleft())
        while waiting:
            yield fetched(*waiting.popleft())


def fetched(call: Call, y: Array, images: int) -> Any:
    with call.backend.scope():
        return call.result(y[:images] if images < y.shape[0] else y)


def filled(call: Call, size: int) -> Call:
    """The call with zero images behind its own, up to `size` of them."""
    images = call.image.shape[0]
    if images >= size:
        return call
    with call.backend.scope():
        zeros = call.backend.xp.zeros((size - images, *call.image.shape[1:]), dtype=call.image.dtype)
        return dataclasses.replace(call, image=call.backend.xp.concat((call.image, zeros), axis=0))
