"""The right answers are right: the known mistake, planted in the same model, gives what the bug gives."""

from functools import lru_cache

import numpy as np
import pytest

from vitref import api, backends
from vitref.benchmark.diagnosis import answers, catalogue, cell, problem
from vitref.benchmark.diagnosis.bug import Bug
from vitref.benchmark.diagnosis.judge import planted
from vitref.recording import Recording
from vitref.verify import mistakes

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

NEARLY = {"eps_0": 1e-6, "weights_of_half_precision": 1e-4}
"""No eps at all where the mistake has 1e-12; float64 rounded to float32 first, and then to float16."""

PARTIAL = {"norm_stops", "weight_of_one_image", "heads_by_view", "scale_behind_sum", "slope_of_tanh_form"}
"""In norm2 or qkv alone; or the same mistake in another form."""


def everywhere(bug: Bug) -> bool:
    """Whether it is in all blocks, as the mistakes of the catalogue are."""
    in_one = bug.name.endswith("_in_one") or any(digit in c.at for c in bug.changes for digit in "01")
    return not in_one and bug.name not in PARTIAL


EXACT = [
    bug
    for bug in catalogue.BUGS.values()
    if everywhere(bug)
    and (names := answers.ANSWERS.get(bug.name, answers.Right()).names)
    and any(not mistakes.find(name).free for name in names)
]


@lru_cache(maxsize=2)
def mistaken(name: str, model: str, gradients: bool) -> Recording:
    given, mistake = problem.small(model), mistakes.find(name)
    image = np.asarray(given.pictures) if mistake.pixels else given.image
    labels = given.labels if gradients else None
    case = mistakes.plant(mistake, mistakes.Case(given.weights, image, backends.get("numpy"), labels))
    return api.trace(case.weights, case.image, labels, backend=case.backend)


@pytest.mark.parametrize("bug", EXACT, ids=lambda bug: bug.name)
def test_the_mistake_gives_what_the_bug_gives(bug: Bug) -> None:
    given, level = problem.at(problem.Place(bug.model)), cell.levels_of(bug)[-1]
    gradients = level in cell.BACKWARD
    taps = planted(given, [bug], "float64", gradients)
    for name in answers.ANSWERS[bug.name].names:
        if not mistakes.find(name).free:
            wrong = mistaken(name, bug.model, gradients)
            shown = [t for t in wrong if t.endswith(":grad")] if level == "gradients" else ["logits"]
            for tap in ["image:dy"] if level == "cotangents" else shown if level != "taps" else list(wrong):
                least = NEARLY.get(bug.name, 1e-10) * (float(np.linalg.norm(wrong[tap])) + 1e-3)
                assert np.linalg.norm(taps[tap] - wrong[tap]) <= least, (name, tap)
