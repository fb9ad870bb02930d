"""What `vitref compare --propose-map` does: a map for the names of a candidate that are unknown."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import vitref
from vitref import recording
from vitref.recording import Recording
from vitref.verify import candidate
from vitref.weights import Weights
from vitref.weights.files import atomic_write


def write(
    path: str, source: str, known: str | None, *, reference: Any, image: Any, labels: Any, weights: Any = None
) -> int:
    """Write the map to `path`, to be checked by a person; the exit code.

    Taps are proposed by the shapes and values of the taps that the reference has: weights that compute
    `image`, or the candidate's own where there is no other; or the file of a trace. `known` is a map whose
    entries are kept.
    """
    if not isinstance(reference, Weights):
        trace = recording.load(reference)
    else:
        shown = candidate.extras(source).inputs.get("image") if image is None else image
        trace = vitref.trace(reference, shown, labels)
    entries = proposed(source, known, trace)
    if not entries:
        print(f"{source}: every name is known, no map is needed")
        return 0
    with atomic_write(path) as file:
        file.write((json.dumps(entries, indent=1) + "\n").encode())
    print(f"{path}: {_counted(entries)}; check it, then give it as --map {path}")
    return 0


def _counted(entries: Mapping[str, Any]) -> str:
    """How many are sure, and what is left out because its value is no tap's: a wrong step's, perhaps."""
    marks = Counter(
        entry["sure"] for entry in entries.values() if isinstance(entry, dict) and "sure" in entry
    )
    said = [f"{marks['sure']} of {len(entries)} sure"]
    said += [f"{marks[mark]} {mark}" for mark in ("by name", "likely") if marks[mark]]
    if marks["guess"] + marks["no tap fits"]:
        said.append(
            f'{marks["guess"] + marks["no tap fits"]} left out ("tap": null) unless you say what they are'
        )
    return ", ".join(said)


def proposed(source: str, known: str | None, trace: Recording) -> dict[str, Any]:
    return candidate.propose(
        source,
        expected={tap: array.shape for tap, array in trace.items()},
        config=trace.config,
        map=known,
        reference=trace.__getitem__,
    )
