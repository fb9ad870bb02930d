"""Loading takes no more memory than twice the file and 64 MiB, also for a file made to take more.

Each load is measured in a process of its own, by the most memory it ever had resident.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitref.config import Config
from vitref.weights import Weights, npz
from vitref.weights.files import save_tensors
from vitref.weights.header import MAX_HEADER

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")

PROGRAM = """
import re, sys
import vitref
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
before = peak()
try:
    weights = vitref.load(sys.argv[1], heads=4, convention="timm")
except vitref.Error:
    pass
print(peak() - before)
"""


def growth(path: Path) -> int:
    """Bytes by which loading raises the peak."""
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=path.parent,
    )
    return int(found.stdout) * 1024


def weights(**changed: Any) -> Weights:
    sizes: dict[str, Any] = {"width": 1024, "heads": 4, "depth": 2, "mlp_width": 4096, "image_size": 32}
    config = Config.variant("ViT-Ti/16", convention="timm", **{**sizes, "classes": 10, **changed})
    return Weights({n: np.full(s, 0.1, "f4") for n, s in config.parameter_shapes().items()}, config)


@pytest.mark.parametrize("format", ["timm", "huggingface", "google"])
def test_a_sound_file(tmp_path: Path, format: str) -> None:
    path = tmp_path / ("m.npz" if format == "google" else "m.safetensors")
    save = npz.save_arrays if format == "google" else save_tensors
    save(path, weights().export(format=format), {})
    assert path.stat().st_size > 90 * 2**20
    assert growth(path) < 2 * path.stat().st_size + 64 * 2**20


def test_a_file_of_one_huge_tensor(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_tensors(path, {"patch_embed.proj.weight": np.zeros(30_000_000, "f4")}, {})
    assert growth(path) < 2 * path.stat().st_size + 64 * 2**20


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'{"":0},'])
def test_a_header_that_is_small_as_text_and_large_as_objects(tmp_path: Path, unit: bytes) -> None:
    text = b'{"a":[' + unit * ((MAX_HEADER - 20) // len(unit)) + b"0]}"
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    assert growth(path) < 2 * path.stat().st_size + 64 * 2**20
