"""Batches one after another: the next one is made ready while this one is computed."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vitref.array import Array
from vitref.call import Call, output

Started = tuple[Call, Array, int]
"""A batch whose output may still be on its way, and how many images it has."""


def streamed(prepare: Callable[[Any], Call], batches: Iterator[Any]) -> Iterator[Any]:
    """The final output of each batch, in turn.

    One batch is prepared ahead, in a thread of its own; the result of a batch is fetched after the next
    one was started, so that a device never waits for the host. A call is held until its result is there:
    its image may not be given back to the device's memory before. What is right before an error is
    yielded before it is raised.
    """
    waiting: deque[Started] = deque()
    ahead = ThreadPoolExecutor(1, thread_name_prefix="vitref-stream")
    try:
        for started in begun(prepare, batches, ahead):
            waiting.append(started)
            if len(waiting) > 1:
                yield fetched(*waiting.popleft())
    except Exception:
        while waiting:
            yield fetched(*waiting.popleft())
        raise
    finally:
        ahead.shutdown(wait=False, cancel_futures=True)
    while waiting:
        yield fetched(*waiting.popleft())


def begun(
    prepare: Callable[[Any], Call], batches: Iterator[Any], ahead: ThreadPoolExecutor
) -> Iterator[Started]:
    """Each batch as soon as its computation has begun; filled up to the size of the first one."""

    def ready() -> Call | None:
        for batch in batches:
            return prepare(batch)
        return None

    size, coming = 0, ahead.submit(ready)
    while (call := coming.result()) is not None:
        coming = ahead.submit(ready)
        images = call.image.shape[0]
        size = size or images
        call = filled(call, size)
        yield call, output(call), images


def fetched(call: Call, y: Array, images: int) -> Any:
    with call.scope():
        return call.own_result(y[:images, ...] if images < y.shape[0] else y)


def filled(call: Call, size: int) -> Call:
    """The call with zero images behind its own, up to `size` of them."""
    images = call.image.shape[0]
    if images >= size:
        return call
    with call.scope():
        zeros = call.backend.xp.zeros((size - images, *call.image.shape[1:]), dtype=call.image.dtype)
        return dataclasses.replace(call, image=call.backend.xp.concat((call.image, zeros), axis=0))
