"""The command line as a user meets it: output, exit codes, and errors on standard error."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import vitref
from vitref.cli import main
from vitref.weights import bundled
from vitref.weights.npz import save_arrays

DIGIT = str(bundled.images()[0])

CONFIG = vitref.Config.variant(
    "ViT-Ti/16", convention="timm", image_size=(32, 48), depth=1, classes=7, width=12, mlp_width=8
)
PIXELS = vitref.Preprocessing(
    size=(32, 48),
    channels=3,
    resize="squash",
    resize_to=(32, 48),
    interpolation="bicubic",
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    vitref.init(CONFIG, seed=0, preprocessing=PIXELS).save(path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def output(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """What a command that succeeds prints."""
    code = main([str(word) for word in argv])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    return captured.out


def refusal(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """What a command that vitref refuses prints on standard error; nothing on standard output."""
    code = main([str(word) for word in argv])
    captured = capsys.readouterr()
    assert (code, captured.out) == (1, "")
    assert captured.err.startswith("vitref: ")
    return captured.err


def test_classify_names_the_digit(capsys: pytest.CaptureFixture[str]) -> None:
    printed = output(capsys, "classify", "bundled", DIGIT, "--top", 3)
    path, heading, *rows = printed.splitlines()
    assert path == DIGIT
    assert heading.split() == ["class", "name", "probability", "logit"]
    assert len(rows) == 3
    assert rows[0].split()[1] == DIGIT.split("digit_")[1][0]


def test_classify_json(
    checkpoint: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join("abcdefg"))
    argv = ["classify", checkpoint, picture, picture, "--json", "--classes", names, "--dtype", "float64"]
    first, second = json.loads(output(capsys, *argv))
    assert first == second
    logits = vitref.forward(checkpoint, picture, dtype="float64")[0]
    assert [row["class"] for row in first["top"]] == list(np.argsort(-logits)[:5])
    assert first["top"][0]["name"] == "abcdefg"[first["top"][0]["class"]]
    assert first["top"][0]["logit"] == logits.max()
    everything = json.loads(output(capsys, *argv, "--top", 7))[0]["top"]
    assert abs(sum(row["probability"] for row in everything) - 1) < 1e-12


def test_classify_names_the_classes_of_the_checkpoint(
    checkpoint: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = vitref.load(checkpoint)
    source = dataclasses.replace(weights.source, classes=tuple(f"class\t{letter}" for letter in "abcdefg"))
    named = vitref.Weights(dict(weights), weights.config, preprocessing=PIXELS, source=source)
    named.save(checkpoint)
    for row in json.loads(output(capsys, "classify", checkpoint, picture, "--json"))[0]["top"]:
        assert row["name"] == f"class {'abcdefg'[row['class']]}"


def test_an_architecture_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = vitref.Config.variant("ViT-Ti/16", convention="timm", classes=2)
    save_file(dict(vitref.init(config, seed=0)), tmp_path / "bare.safetensors")
    argv = ["info", tmp_path / "bare.safetensors", "--convention", "timm", "--architecture"]
    facts = json.loads(output(capsys, *argv, "vit_tiny_patch16_224", "--json"))["config"]
    assert facts["heads"]["value"] == 3
    assert "architecture: found 'vit_tiny'" in refusal(capsys, *argv, "vit_tiny")


def test_brackets_in_names_are_printed_as_they_are(
    checkpoint: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["[/one]", "[bold]two", *"cdefg"]))
    folder = tmp_path / "a[b]c"
    folder.mkdir()
    renamed = checkpoint.rename(folder / "model.safetensors")
    printed = output(capsys, "classify", renamed, picture, "--classes", names, "--top", 7)
    assert "[/one]" in printed
    assert "[bold]two" in printed
    for command in (["info", renamed], ["explain", "linear", renamed]):
        assert str(renamed) in output(capsys, *command)


def test_info_says_where_each_value_came_from(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(output(capsys, "info", checkpoint, "--json"))
    assert {name: fact["value"] for name, fact in facts["config"].items()} == CONFIG.to_dict()
    assert {name: fact["value"] for name, fact in facts["preprocessing"].items()} == PIXELS.to_dict()
    assert all(fact["from"] for part in ("config", "preprocessing") for fact in facts[part].values())
    printed = output(capsys, "info", checkpoint, "--tensors")
    assert "blocks.0.attn.qkv.weight" in printed
    assert str(facts["sha256"]) in printed


def test_info_prints_remarks_that_are_about_no_field(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = vitref.load(checkpoint)
    google = {f"opt/target/{name}": array for name, array in weights.export(format="google").items()}
    save_arrays(tmp_path / "m.npz", {**google, "opt/state/step": np.zeros(1)}, {})
    argv = ["info", tmp_path / "m.npz", "--set", "position_grid=2,3"]
    note = "what belongs to the training: opt/state/step"
    assert json.loads(output(capsys, *argv, "--json"))["notes"]["not loaded"] == note
    assert f"not loaded: {note}\n" in output(capsys, *argv)
    assert "notes" not in output(capsys, "info", checkpoint)


def test_info_of_a_bare_timm_file(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    square = vitref.Config.variant(
        "ViT-Ti/16", convention="timm", image_size=32, depth=1, classes=7, width=12, mlp_width=8
    )
    bare = tmp_path / "bare.safetensors"
    save_file(dict(vitref.init(square, seed=0)), bare)
    said = refusal(capsys, "info", bare)
    assert "no value for" in said
    assert "heads" in said
    argv = ["info", bare, "--convention", "timm", "--set", "heads=3", "--json"]
    facts = json.loads(output(capsys, *argv))["config"]
    assert "argument" in facts["heads"]["from"]
    assert "timm" in facts["eps"]["from"]
    assert "assumed square" in facts["position_grid"]["from"]


def test_trace_writes_what_it_names(
    checkpoint: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trace.safetensors"
    output(capsys, "trace", checkpoint, picture, picture, "--labels", "6,0", "--out", out)
    tensors = load_file(out)
    expected = vitref.trace(checkpoint, [picture, picture], labels=[6, 0])
    assert {name for name in tensors if not name.startswith("input.")} == set(expected)
    assert all(np.array_equal(tensors[name], expected[name]) for name in expected)
    output(capsys, "trace", checkpoint, picture, "--only", "tokens", "--dtype", "float32", "--out", out)
    assert {name: array.dtype.name for name, array in load_file(out).items() if name[:5] != "input"} == {
        "tokens": "float32"
    }


def test_info_lists_the_taps(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "info", checkpoint, "--taps").splitlines()
    assert "blocks.0.attn.softmax  (1, 3, 7, 7)" in lines


def test_options_may_stand_before_the_pictures(
    checkpoint: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--set", "heads=3", "--only", "logits", "--out", tmp_path / "out"]
    assert "1 tap of 2 images" in output(capsys, "trace", checkpoint, *options, picture, picture)
    assert "class" in output(capsys, "classify", checkpoint, "--set", "heads=3", picture)


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    listing = output(capsys, "explain")
    assert all(f"\n{name} " in listing for name in ("layer_norm", "attention_core", "vit"))
    text = output(capsys, "explain", "layer_norm", "bundled")
    assert "dx = r * (g - mean_c g - xhat * mean_c(g * xhat))" in text
    assert "array([[ 1.875, -1.875]])" in text
    assert "blocks.0.norm1.weight" in text


def test_demo_is_right_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    printed = output(capsys, "demo")
    assert "19 of 20 right" in printed  # the model card says which is not
    assert "largest relative error" in printed


def test_errors_name_the_remedy_and_leave_no_file(
    checkpoint: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    before = sorted(tmp_path.iterdir())
    assert "missing.safetensors" in refusal(capsys, "info", tmp_path / "missing.safetensors")
    assert "missing.png" in refusal(capsys, "classify", checkpoint, tmp_path / "missing.png")
    assert "labels: found 7" in refusal(capsys, "trace", checkpoint, picture, "--labels", 7, "--out", out)
    letters = ["--labels", "a", "--out", out]
    assert "--labels: found 'a'" in refusal(capsys, "trace", checkpoint, picture, *letters)
    assert "soft_max" in refusal(capsys, "explain", "soft_max")
    assert "FIELD=VALUE" in refusal(capsys, "info", checkpoint, "--set", "heads")
    assert "unknown field hedas" in refusal(capsys, "info", checkpoint, "--set", "hedas=3")
    assert "unknown field path" in refusal(capsys, "info", checkpoint, "--set", "path=x")
    assert "heads twice" in refusal(capsys, "info", checkpoint, "--set", "heads=3", "--set", "heads=4")
    assert "--top: found 0" in refusal(capsys, "classify", checkpoint, picture, "--top", 0)
    wrong = ["--classes", picture]
    assert "one name per line" in refusal(capsys, "classify", checkpoint, picture, *wrong)
    names = tmp_path / "names.txt"
    names.write_text("only one")
    assert "7, one per class" in refusal(capsys, "classify", checkpoint, picture, "--classes", names)
    names.unlink()
    assert "nowhere" in refusal(capsys, "trace", checkpoint, picture, "--out", tmp_path / "nowhere" / "x")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("argv", ["", "nonsense", "classify", "trace a b", "info a --wat"])
def test_wrong_command_lines_exit_with_2(argv: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv.split())
    assert "usage:" in capsys.readouterr().err


def test_version_and_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vitref", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"vitref {vitref.__version__}\n"


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m vitref explain block bundled | head -c 10"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (len(done.stdout), done.stderr) == (10, "")
