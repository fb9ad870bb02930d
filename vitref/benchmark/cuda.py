"""A CUDA device: synchronised calls, the memory that it has given away, and the device in words."""

from collections.abc import Callable
from typing import Any

from vitref.benchmark.memory import MIB, Meter


def synchronised_cupy(cupy: Any, call: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        result = call()
        cupy.cuda.Device().synchronize()
        return result

    return run


def synchronised_torch(torch: Any, call: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        result = call()
        torch.cuda.synchronize()
        return result

    return run


def describe_cupy(cupy: Any) -> str:
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    runtime, driver = cupy.cuda.runtime.runtimeGetVersion(), cupy.cuda.runtime.driverGetVersion()
    return f"{name}, CUDA runtime {runtime}, driver {driver}"


def describe_torch(torch: Any) -> str:
    return f"{torch.cuda.get_device_name()}, CUDA runtime {torch.version.cuda}"


def torch_meter(torch: Any) -> Meter:
    return _meter(torch.cuda.mem_get_info, torch.cuda.empty_cache)


def cupy_meter(cupy: Any) -> Meter:
    return _meter(cupy.cuda.runtime.memGetInfo, cupy.get_default_memory_pool().free_all_blocks)


def _meter(free_and_total: Callable[[], tuple[int, int]], rest: Callable[[], None]) -> Meter:
    """What the device has given away, while nothing else on it begins or ends.

    Libraries keep what they free, so that after a run they hold its peak; `rest` gives that back first.
    The memory of recorded graphs and of the products' workspaces is in it.
    """

    def used() -> float:
        free, total = free_and_total()
        return (total - free) / MIB

    def held() -> float:
        rest()
        return used()

    return Meter(held, rest, used, rest)
