"""Capture of Python functions: what they return, whatever library its arrays are of."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from vitref.array import HostArray
from vitref.config import Config
from vitref.errors import ConfigError, ImageError
from vitref.verify import capture
from vitref.verify.probes import BASE

IMAGE = np.random.default_rng(1).standard_normal((2, 3, 8, 7)).astype(np.float32)
CONFIG = Config(**BASE)


class Foreign:
    """An array of another library."""

    def __init__(self, array: HostArray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> HostArray:
        return self.array


def half(image: HostArray, *, labels: HostArray | None = None) -> dict[str, Any]:
    """Taps of a pretended model; labels are returned as they came."""
    taps = {"norm": Foreign(image[:, 0].astype(np.float16)), "head": image.astype(ml_dtypes.bfloat16)}
    return taps if labels is None else {**taps, "loss": np.float64(labels.sum())}


def test_names_and_dtypes_are_kept() -> None:
    found = capture.callable(half, IMAGE)
    assert list(found) == ["input.image", "norm", "head"]
    assert found["input.image"].tobytes() == IMAGE.tobytes()
    assert found["norm"].dtype == np.float16
    assert found["head"].dtype == ml_dtypes.bfloat16
    assert found["norm"].tobytes() == IMAGE[:, 0].astype(np.float16).tobytes()


def test_one_array_is_the_final_output() -> None:
    assert "logits" in capture.callable(lambda image: image[:, 0, 0], IMAGE)
    headless = Config(**{**BASE, "classes": 0})
    assert "head_input" in capture.callable(lambda image: image[:, 0, 0], IMAGE, config=headless)


def test_labels_go_to_those_who_take_them() -> None:
    found = capture.callable(half, IMAGE, labels=[1, 3])
    assert found["loss"] == 4
    assert found["input.labels"].tolist() == [1, 3]
    assert "loss" not in capture.callable(lambda image: half(image), IMAGE, labels=[1, 3])


def test_cotangents_go_to_those_who_take_them() -> None:
    def model(image: HostArray, cotangent: Any) -> Any:
        return {"logits": image[:, 0, 0], "logits:dy": cotangent["logits"]}

    given = np.ones((2, 4))
    found = capture.callable(model, IMAGE, cotangent=given, config=CONFIG)
    assert found["logits:dy"].tolist() == found["input.cotangent.logits"].tolist() == given.tolist()


def test_by_name_and_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("def run(image):\n    return {'norm': image * 2}\n")
    out = tmp_path / "captured.safetensors"
    found = capture.callable(f"{tmp_path}/model.py:run", IMAGE[0], out=out)
    assert np.array_equal(found["norm"], IMAGE[:1] * 2)
    assert found.about["model"] == f"{tmp_path}/model.py:run"
    assert out.is_file()


def test_progress() -> None:
    names: list[str] = []
    capture.callable(half, IMAGE, progress=names.append)
    assert names == ["norm", "head"]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({}, "keys"),
        ({1: IMAGE}, "keys"),
        ("logits", "builtins.str"),
        ({"norm": IMAGE.astype(np.int32)}, "int32"),
        ({"norm": IMAGE.astype(bool)}, "bool"),
        ({"norm": IMAGE.astype(complex)}, "complex128"),
        ({"norm": None}, "NoneType"),
    ],
)
def test_useless_results(returned: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        capture.callable(lambda image: returned, IMAGE)


def test_error_in_the_function() -> None:
    def fails(image: HostArray) -> HostArray:
        raise ValueError("no such layer")

    with pytest.raises(ConfigError, match="ValueError: no such layer, at .*test_python_function"):
        capture.callable(fails, IMAGE)


@pytest.mark.parametrize("image", [IMAGE[0, 0], np.zeros((2, 8, 7, 3), np.uint8), IMAGE.astype(complex)])
def test_no_image(image: HostArray) -> None:
    with pytest.raises((ImageError, ConfigError), match="image"):
        capture.callable(half, image)


def test_labels_and_cotangent() -> None:
    with pytest.raises(ConfigError, match="both"):
        capture.callable(half, IMAGE, labels=[1, 2], cotangent=np.ones((2, 4)))
