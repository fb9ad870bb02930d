"""Preprocessing: every field checked, one number for all channels, and plain types back and forth."""

from typing import Any

import numpy as np
import pytest

from vitref.errors import ConfigError
from vitref.preprocessing import FIELDS, Preprocessing

PLAIN: dict[str, Any] = {
    "size": (8, 6),
    "channels": 3,
    "resize": "shortest",
    "resize_to": 9,
    "interpolation": "bicubic",
    "mean": 0.5,
    "std": (0.1, 0.2, 0.3),
}


def test_one_number_stands_for_both_sides_and_all_channels() -> None:
    made = Preprocessing(**PLAIN)
    assert made.resize_to == (9, 9)
    assert made.mean == (0.5, 0.5, 0.5)
    assert made.std == (0.1, 0.2, 0.3)
    assert Preprocessing(**{**PLAIN, "channels": 1, "std": 1}).std == (1.0,)


def test_plain_types_make_the_same_again() -> None:
    made = Preprocessing(**PLAIN)
    assert set(made.to_dict()) == FIELDS
    assert Preprocessing(**made.to_dict()) == made


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 0),
        ("size", "8"),
        ("resize_to", (9, 9, 9)),
        ("channels", 4),
        ("channels", True),
        ("channels", 3.0),
        ("resize", "crop"),
        ("resize", ["squash"]),
        ("interpolation", "cubic"),
        ("mean", (0.5, 0.5)),
        ("mean", (0.5, "0.5", 0.5)),
        ("mean", float("nan")),
        ("mean", True),
        ("mean", (True, False, True)),
        ("mean", None),
        ("mean", 10**400),
        ("resize", np.zeros(2)),
        ("interpolation", np.zeros(2)),
        ("std", 0),
        ("std", (0.1, 0.2, float("inf"))),
        ("std", (0.1, 0.2, -0.3)),
    ],
)
def test_a_wrong_value_names_its_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Preprocessing(**{**PLAIN, field: value})
    assert caught.value.where == f"Preprocessing.{field}"


@pytest.mark.parametrize("size", [(10, 6), (8, 10)])
def test_what_is_cut_out_must_fit_into_what_is_resized(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError) as caught:
        Preprocessing(**{**PLAIN, "size": size})
    assert caught.value.where == "Preprocessing.resize_to"
