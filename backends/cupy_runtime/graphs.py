"""Forward passes of small batches as CUDA graphs: recorded once, then started by a single call.

A small batch keeps the GPU waiting for Python. Two calls run step by step, so that kernels are compiled
and products chosen; the third is recorded, and later ones are replayed: the same kernels, in the same
order, with the same bits.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from vitref.array import Array

LARGEST_BATCH = 16
WARM_UPS = 2
KEPT = 16
"""Recordings of one model; the one not used for longest is let go."""


@dataclass
class Recording:
    """One computation: how often it ran step by step, and its graph once there is one.

    image    what the graph reads
    arrays   what the graph needs; the first is what it writes
    refused  why it cannot be recorded
    """

    runs: int = 0
    image: Array | None = None
    graph: Any = None
    arrays: list[Any] = field(default_factory=list)
    refused: str | None = None
    lock: Any = field(default_factory=threading.Lock)


class Recordings:
    """The recordings of one device, by the object that owns the computation and by key."""

    def __init__(self, device: Any, largest_batch: int) -> None:
        self._device, self._largest = device, largest_batch
        self._owners: dict[int, tuple[Any, OrderedDict[Hashable, Recording]]] = {}
        self._lock = threading.Lock()

    def replay(self, owner: Any, key: Hashable, compute: Callable[[Array], Array], image: Array) -> Array:
        """compute(image), by a recording where there is one; as `vitref.backends.interface.Replay`."""
        if image.shape[0] > self._largest:
            return compute(image)
        found = self._recording(owner, key)
        with found.lock:
            if found.graph is None and found.refused is None and found.runs >= WARM_UPS:
                self._record(found, compute, image)
            if found.graph is not None:
                found.image[...] = image  # type: ignore[index]
                found.graph.launch(self._device.cupy.cuda.get_current_stream())
                return found.arrays[0].copy()
            found.runs += 1
        return compute(image)

    def _record(self, recording: Recording, compute: Callable[[Array], Array], image: Array) -> None:
        place = image.copy()
        try:
            graph, arrays = self._device.record(lambda: compute(place))
        except self._device.cupy.cuda.memory.OutOfMemoryError:  # CuPy's pool may hold what is missing
            self._device.cupy.get_default_memory_pool().free_all_blocks()
            recording.runs = 0
        except Exception as error:  # a part that cannot be recorded: it runs step by step for ever
            recording.refused = f"{type(error).__name__}: {error}"
        else:
            recording.image, recording.graph, recording.arrays = place, graph, arrays

    def _recording(self, owner: Any, key: Hashable) -> Recording:
        with self._lock:
            known = self._owners.get(id(owner))
            if known is None or known[0]() is not owner:
                known = weakref.ref(owner, self._forget(id(owner))), OrderedDict()
                self._owners[id(owner)] = known
            recordings = known[1]
            found = recordings.setdefault(key, Recording())
            recordings.move_to_end(key)
            if len(recordings) > KEPT:
                self._drop(recordings.popitem(last=False)[1])
        return found

    def _forget(self, number: int) -> Callable[[Any], None]:
        """What to do when an owner is gone: let go of its recordings."""

        def gone(reference: Any) -> None:
            known = self._owners.get(number)
            if known is not None and known[0] is reference:
                del self._owners[number]
                for recording in known[1].values():
                    self._drop(recording)

        return gone

    def _drop(self, recording: Recording) -> None:
        """Not before the device has finished with it."""
        if recording.graph is not None:
            self._device.stream.synchronize()
