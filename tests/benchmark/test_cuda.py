"""The parts of a measurement on a CUDA device, with stand-ins for its libraries."""

import itertools
from types import SimpleNamespace

import pytest

from vitref.benchmark import cuda
from vitref.benchmark.candidates import BACKENDS, CANDIDATES, PEERS
from vitref.benchmark.case import DTYPES, Case
from vitref.benchmark.memory import Meter

MIB = 2**20


class Device:
    """A device of 100 MiB, and the pool of a library that keeps what is freed."""

    def __init__(self) -> None:
        self.in_use, self.given = 0, 0

    def take(self, mebibytes: int) -> None:
        self.in_use += mebibytes
        self.given = max(self.given, self.in_use)

    def rest(self) -> None:
        self.given = self.in_use

    def info(self) -> tuple[int, int]:
        return (100 - self.given) * MIB, 100 * MIB


def meters(device: Device) -> list[Meter]:
    pool = SimpleNamespace(free_all_blocks=device.rest)
    runtime = SimpleNamespace(memGetInfo=device.info)
    cupy = SimpleNamespace(get_default_memory_pool=lambda: pool, cuda=SimpleNamespace(runtime=runtime))
    torch = SimpleNamespace(cuda=SimpleNamespace(mem_get_info=device.info, empty_cache=device.rest))
    return [cuda.cupy_meter(cupy), cuda.torch_meter(torch)]


@pytest.mark.parametrize("library", [0, 1])
def test_memory_is_the_most_that_the_device_gave_away(library: int) -> None:
    device = Device()
    meter = meters(device)[library]
    device.take(30)
    device.take(-25)
    assert meter.held() == 5
    meter.reset()
    device.take(7)
    device.take(-7)
    assert meter.peak() == 12
    meter.rest()
    assert meter.peak() == 5


def test_a_timed_call_ends_when_the_device_has_finished() -> None:
    log: list[str] = []
    device = SimpleNamespace(synchronize=lambda: log.append("wait"))
    libraries = (
        (cuda.synchronised_cupy, SimpleNamespace(cuda=SimpleNamespace(Device=lambda: device))),
        (cuda.synchronised_torch, SimpleNamespace(cuda=device)),
    )
    for synchronised, library in libraries:
        log.clear()
        assert synchronised(library, lambda: log.append("launch") or "result")() == "result"  # type: ignore[func-returns-value]
        assert log == ["launch", "wait"]


def test_devices_do_not_mix() -> None:
    case = Case("ViT-B/16", 64, "float32", "forward")
    on_gpu = {name for name, c in CANDIDATES.items() if c.runs(case._replace(device="cuda"))}
    on_cpu = {name for name, c in CANDIDATES.items() if c.runs(case)}
    assert not on_gpu & on_cpu
    assert on_gpu == {
        "vitref-cupy",
        "timm",
        *(f"timm-compile-{m}" for m in ("default", "reduce-overhead", "max-autotune")),
    }


def test_every_precision_on_the_device_has_vitref_and_a_peer() -> None:
    precisions = [(dtype, "strict") for dtype in DTYPES] + [("float32", p) for p in ("fp32x3", "tf32")]
    for (dtype, precision), direction in itertools.product(precisions, ("forward", "backward")):
        case = Case("ViT-B/16", 64, dtype, direction, precision, device="cuda")
        assert BACKENDS["cupy"].runs(case)
        assert sum(peer.runs(case) for peer in PEERS.values()) >= 4
        autocast = PEERS["timm-autocast-compile-default"].runs(case)
        assert autocast == (dtype in ("bfloat16", "float16"))
