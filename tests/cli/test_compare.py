"""`vitref compare` and `vitref diagnose`: what they ask of `vitref.compare`, what they print, exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitref
from tests.verify.reports import samples
from vitref import recording
from vitref.cli import main
from vitref.cli.compare import progress_bar
from vitref.verify import mistakes, reports
from vitref.verify.verdicts import Report
from vitref.weights import bundled
from vitref.weights.files import save_tensors

DIGIT = bundled.images()[0]

Asked = list[dict[str, Any]]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.safetensors"
    vitref.trace(bundled.checkpoint(), DIGIT, only=["pool", "logits"]).save(path)
    return path


@pytest.fixture
def finding(monkeypatch: pytest.MonkeyPatch) -> Callable[[Report], Asked]:
    """Puts a report in the place of a comparison; gives what the comparison is asked."""

    def find(report: Report) -> Asked:
        asked: Asked = []

        def compare(reference: Any, candidate: Any, **rest: Any) -> Report:
            asked.append({"reference": reference, "candidate": candidate, **rest})
            return report

        monkeypatch.setattr(vitref, "compare", compare, raising=False)
        return asked

    return find


@pytest.mark.parametrize("command", ["compare", "diagnose"])
@pytest.mark.parametrize(
    ("report", "code"),
    [
        (samples.honest(), 0),
        (samples.lower_precision(), 0),
        (samples.systematic(), 1),
        (samples.wrong_softmax(), 1),
        (samples.only_logits(), 1),
    ],
)
def test_exit_code_is_the_verdict(
    finding: Callable[[Report], Asked],
    trace: Path,
    command: str,
    report: Report,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = finding(report)
    assert main([command, str(trace), "port.npz"]) == code
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == reports.headline(report)
    assert printed.err == ""
    assert asked == [
        {
            "reference": str(trace),
            "candidate": "port.npz",
            "weights": None,
            "image": None,
            "labels": None,
            "map": None,
            "precision": None,
            "diagnose": command == "diagnose",
            "progress": None,
        }
    ]


def test_compare_can_diagnose(finding: Callable[[Report], Asked], trace: Path) -> None:
    asked = finding(samples.honest())
    assert main(["compare", str(trace), "port.npz", "--diagnose", "--map", "names.json"]) == 0
    assert (asked[0]["diagnose"], asked[0]["map"]) == (True, "names.json")


def test_a_checkpoint_as_reference(finding: Callable[[Report], Asked]) -> None:
    asked = finding(samples.honest())
    argv = ["compare", "bundled", "port.npz", "--image", str(DIGIT), str(DIGIT), "--labels", "3,7"]
    assert main([*argv, "--set", "classes=10"]) == 0
    assert isinstance(asked[0]["reference"], vitref.Weights)
    assert (asked[0]["image"], asked[0]["labels"]) == ([DIGIT, DIGIT], [3, 7])


def test_weights_of_a_trace(finding: Callable[[Report], Asked], trace: Path) -> None:
    asked = finding(samples.honest())
    assert main(["compare", str(trace), "port.npz", "--weights", "bundled"]) == 0
    assert asked[0]["reference"] == str(trace)
    assert asked[0]["weights"].source.sha256 == vitref.load(bundled.checkpoint()).source.sha256


def test_json(finding: Callable[[Report], Asked], trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finding(samples.wrong_softmax())
    assert main(["compare", str(trace), "port.npz", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == reports.plain(samples.wrong_softmax())


def test_html(finding: Callable[[Report], Asked], trace: Path, tmp_path: Path) -> None:
    finding(samples.wrong_softmax())
    assert main(["compare", str(trace), "port.npz", "--html", str(tmp_path / "report.html")]) == 1
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == reports.page(samples.wrong_softmax())


def test_all_lists_every_tap(
    finding: Callable[[Report], Asked], trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finding(samples.wrong_softmax())
    assert main(["compare", str(trace), "port.npz", "--all"]) == 1
    assert "\nblocks.1.mlp.fc2:dy " in capsys.readouterr().out


def test_top_is_the_length_of_the_ranking(
    finding: Callable[[Report], Asked], trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finding(samples.wrong_softmax())
    assert main(["diagnose", str(trace), "port.npz", "--top", "1"]) == 1
    assert "causal_mask" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--labels", "3,x"], "--labels: found '3,x'"),
        (["--set", "heads=3"], "--convention, --architecture, --set: found no --weights"),
        (["--html", "missing/report.html"], "cannot be written"),
        (["--weights", "missing.safetensors"], "missing.safetensors"),
    ],
)
def test_refused(
    finding: Callable[[Report], Asked],
    trace: Path,
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finding(samples.honest())
    assert main(["compare", str(trace), "port.npz", *options]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("vitref: ")
    assert said in printed.err


def test_two_checkpoints_are_refused(
    finding: Callable[[Report], Asked], capsys: pytest.CaptureFixture[str]
) -> None:
    finding(samples.honest())
    assert main(["compare", "bundled", "port.npz", "--weights", "bundled"]) == 2
    assert "--weights: found a checkpoint as REFERENCE, too" in capsys.readouterr().err


def test_a_missing_reference_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "missing.safetensors", "port.npz"]) == 2
    assert "missing.safetensors" in capsys.readouterr().err


def test_a_capture_is_no_reference(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tensors(tmp_path / "port.safetensors", {"logits": np.ones((1, 2))}, {"capture": "{}"})
    assert main(["compare", str(tmp_path / "port.safetensors"), str(trace)]) == 2
    assert "Give the reference first and the candidate second." in capsys.readouterr().err


def test_negative_ranking_is_refused(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(trace), "port.npz", "--top", "-1"]) == 2
    assert "--top: found -1" in capsys.readouterr().err


def test_propose_a_map(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taps = recording.load(trace)
    np.savez(tmp_path / "port.npz", feature=taps["pool"].astype(np.float32), scores=taps["logits"])
    out = tmp_path / "map.json"
    assert main(["compare", str(trace), str(tmp_path / "port.npz"), "--propose-map", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 2 of 2 sure")
    entries = json.loads(out.read_text())
    assert {name: entry["tap"] for name, entry in entries.items()} == {"feature": "pool", "scores": "logits"}


def test_a_proposal_keeps_what_is_known(trace: Path, tmp_path: Path) -> None:
    taps = recording.load(trace)
    np.savez(tmp_path / "port.npz", feature=taps["pool"], scores=taps["logits"])
    known, out = tmp_path / "known.json", tmp_path / "map.json"
    known.write_text('{"feature": null}')
    argv = ["compare", str(trace), str(tmp_path / "port.npz"), "--map", str(known)]
    assert main([*argv, "--propose-map", str(out)]) == 0
    assert json.loads(out.read_text())["feature"] is None


def test_a_proposal_by_the_candidates_own_image(trace: Path, tmp_path: Path) -> None:
    taps = recording.load(trace)
    arrays = {"input.image": taps.inputs["image"], "feature": taps["pool"], "scores": taps["logits"]}
    port, out = tmp_path / "port.safetensors", tmp_path / "map.json"
    save_tensors(port, arrays, {})
    assert main(["compare", "bundled", str(port), "--propose-map", str(out)]) == 0
    assert json.loads(out.read_text()).keys() == {"feature", "scores"}


def test_no_map_for_known_names(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "port.npz", logits=recording.load(trace)["logits"])
    argv = ["compare", "bundled", str(tmp_path / "port.npz"), "--image", str(DIGIT)]
    assert main([*argv, "--propose-map", str(tmp_path / "map.json")]) == 0
    assert "every name is known" in capsys.readouterr().out
    assert not (tmp_path / "map.json").exists()


def test_progress_on_a_terminal(
    finding: Callable[[Report], Asked],
    trace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    asked = finding(samples.honest())
    assert main(["compare", str(trace), "port.npz"]) == 0
    assert "Comparing" in capsys.readouterr().err
    with progress_bar() as advance:
        assert advance is not None
        advance("Measuring [x]", 0.5)
    assert "Measuring [x]" in capsys.readouterr().err
    assert callable(asked[0]["progress"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace, forward and backward, of the bundled model."""
    path = tmp_path_factory.mktemp("whole") / "trace.safetensors"
    vitref.trace(bundled.checkpoint(), DIGIT, [3]).save(path)
    return path


def candidate(folder: Path, name: str | None = None) -> Path:
    """The same in float32, with this mistake."""
    backend = "numpy" if name is None else mistakes.backend(mistakes.find(name))
    path = folder / "port.safetensors"
    vitref.trace(bundled.checkpoint(), DIGIT, [3], dtype="float32", backend=backend).save(path)
    return path


def test_an_honest_candidate(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    assert main(["compare", str(whole), str(candidate(tmp_path)), "--html", str(page)]) == 0
    assert capsys.readouterr().out.startswith("agree: ")
    assert "all within the rounding noise of float32" in page.read_text(encoding="utf-8")


def test_a_wrong_candidate(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = candidate(tmp_path, "softmax_over_queries")
    page = tmp_path / "report.html"
    assert main(["compare", str(whole), str(wrong), "--json", "--html", str(page)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["first"]) == ("differ", "blocks.0.attn.softmax")
    assert "blocks.0.attn.softmax, image 0, head" in page.read_text(encoding="utf-8")


def test_no_verdict_on_values_that_are_not_finite(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "port.npz", logits=np.full((1, 10), np.nan, np.float32))
    assert main(["compare", str(whole), str(tmp_path / "port.npz")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("vitref: ")
