"""Run the exercises of the named sources in a build that checks every access to memory and every operation.

python -m tests.cuda.sanitized SOURCE...      (libasan.so has to be preloaded: see test_sanitizers.py)
python -m tests.cuda.sanitized --plant        a kernel that writes beyond shared memory: must not survive
"""

import sys
from pathlib import Path

import numpy as np

from tests.cuda.exercises import exercised
from tests.cuda.host import SANITIZERS, HostDevice


def plant() -> None:
    """One number beyond the end of a shared array."""
    device = HostDevice(folder=Path(__file__).parent / "probes", flags=SANITIZERS)
    x = np.zeros(64, "float32")
    arguments = (x, x.copy(), np.int32(4))
    device.launch("probes", "neighbours", (1, 1, 1), (64, 1, 1), *arguments)


def main(arguments: list[str]) -> None:
    if arguments == ["--plant"]:
        return plant()
    for source in arguments:
        exercised(source, HostDevice(flags=SANITIZERS))
        print(f"{source}: clean")


if __name__ == "__main__":
    main(sys.argv[1:])
