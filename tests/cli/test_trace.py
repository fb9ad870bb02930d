"""`vitref trace`: with weights in the file, and of a model that is drawn."""

from pathlib import Path

import numpy as np
import pytest

from vitref import recording
from vitref.cli import main
from vitref.weights import bundled

DIGIT = str(bundled.images()[0])


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(list(argv)) == 1
    return capsys.readouterr().err


def test_variant_needs_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "t.safetensors"
    assert main(["trace", "--variant", "tiny-test", "--seed", "3", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 186 taps of 2 images, float64, 0.3 MiB\n"
    trace = recording.load(out)
    assert trace.weights is not None
    assert {"image", "labels"} == set(trace.inputs)
    assert "loss" in trace
    assert "patch_embed.proj.weight:grad" in trace
    assert "image:dy" in trace
    assert trace.about["provenance"]["eps"] == "variant tiny-test, seed 3"
    assert out.stat().st_size < 2**19


def test_variant_gives_the_same_bytes_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["trace", "--variant", "tiny-test", "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_variant_takes_only_and_dtype(tmp_path: Path) -> None:
    out = tmp_path / "t.safetensors"
    more = ["--only", "logits", "--dtype", "float32"]
    assert main(["trace", "--variant", "tiny-test", "--out", str(out), *more]) == 0
    trace = recording.load(out)
    assert list(trace) == ["logits"]
    assert trace["logits"].dtype == np.float32


def test_weights_go_into_the_file(tmp_path: Path) -> None:
    out = tmp_path / "t.safetensors"
    assert main(["trace", "bundled", "--out", str(out), DIGIT, "--with-weights"]) == 0
    trace = recording.load(out)
    assert trace.weights is not None
    assert trace.weights.preprocessing is not None
    assert main(["trace", "bundled", DIGIT, "--out", str(out)]) == 0
    assert recording.load(out).weights is None


@pytest.mark.parametrize(
    "more",
    [["bundled", DIGIT], ["--labels", "1,2"], ["--convention", "timm"], ["--set", "heads=3"]],
)
def test_variant_with_what_it_brings_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    out = tmp_path / "t.safetensors"
    error = refusal(capsys, "trace", *more, "--variant", "tiny-test", "--out", str(out))
    assert "Leave these out" in error
    assert not out.exists()


def test_seed_alone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal(capsys, "trace", "bundled", DIGIT, "--seed", "3", "--out", str(tmp_path / "t"))
    assert "--seed without --variant" in error


@pytest.mark.parametrize("words", [["--variant", "ViT-B/16"], ["--variant", "tiny-test", "--seed", "-1"]])
def test_unknown_variant_and_wrong_seed_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert "found" in refusal(capsys, "trace", *words, "--out", str(tmp_path / "t"))


@pytest.mark.parametrize("words", [[], ["bundled"]])
def test_without_variant_weights_and_image_are_required(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["trace", *words, "--out", "t"])
    assert stopped.value.code == 2
    assert "IMAGE" in capsys.readouterr().err
