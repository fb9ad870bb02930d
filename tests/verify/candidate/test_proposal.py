"""Proposals for unknown names: right where values decide, honest where they do not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitref.errors import ConfigError
from vitref.verify.candidate import alike, fitting, matching, propose


def proposed(case: Any, source: Any, *, by_value: bool = True, **options: Any) -> dict[str, Any]:
    reference = case.trace.__getitem__ if by_value else None
    return propose(source, expected=case.expected, config=case.config, reference=reference, **options)


NOISE = 1e-4
"""Relative, of each number of a candidate: far above rounding, and ten of it above every draw."""


def test_every_tap_is_found_by_value(case: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noisy = {tap: array * (1 + NOISE * rng.standard_normal(array.shape)) for tap, array in case.trace.items()}
    arrays = {f"x{i}": array for i, array in enumerate(noisy.values())}
    found = proposed(case, arrays)
    (tmp_path / "map.json").write_text(json.dumps(found))
    candidate = case.open(arrays, map=tmp_path / "map.json")
    assert len(candidate) == len(arrays)
    for tap in candidate:
        assert np.allclose(candidate[tap], case.trace[tap], rtol=10 * NOISE, atol=0), tap
    sure = [name for name, entry in found.items() if entry["sure"] == "sure"]
    assert len(sure) > 0.9 * len(arrays)


LAYOUTS: dict[str, tuple[str, Any]] = {
    "convolution of torch": ("patch_embed.proj", lambda a: a.transpose(0, 2, 1).reshape(2, 12, 2, 3)),
    "convolution of flax": ("patch_embed.proj", lambda a: a.reshape(2, 2, 3, 12)),
    "heads joined": ("blocks.0.attn.q", lambda a: a.transpose(0, 2, 1, 3).reshape(2, 7, 12)),
    "tokens before heads": ("blocks.1.attn.v:dy", lambda a: a.transpose(0, 2, 1, 3)),
    "heads apart": ("blocks.0.attn.merge", lambda a: a.reshape(2, 7, 3, 4).transpose(0, 2, 1, 3)),
    "kernel (in, out)": ("blocks.0.mlp.fc1.weight:grad", lambda a: a.T),
    "square kernel (in, out)": ("blocks.0.attn.proj.weight:grad", lambda a: a.T),
    "kernel of flax": ("patch_embed.proj.weight:grad", lambda a: a.transpose(2, 3, 1, 0)),
    "flat kernel": ("patch_embed.proj.weight:grad", lambda a: a.reshape(12, -1)),
    "vector with axes": ("cls_token:grad", lambda a: a.reshape(12)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_found(case: Any, name: str) -> None:
    tap, change = LAYOUTS[name]
    arrays = {"mystery": change(case.trace[tap])}
    found = proposed(case, arrays)
    assert found["mystery"]["sure"] == "sure"
    candidate = case.open(arrays, map=found)
    (read,) = candidate
    assert np.array_equal(candidate[read], case.trace[read])


def test_a_missing_batch_axis_is_found(case: Any) -> None:
    one = {tap: (1, *shape[1:]) for tap, shape in case.expected.items() if ":" not in tap and len(shape) > 1}
    arrays = {"m": case.trace["blocks.1.mlp"][0], "c": case.trace["patch_embed.proj"][0].T.reshape(12, 2, 3)}
    found = propose(
        arrays, expected=one, config=case.config, reference=lambda tap: np.asarray(case.trace[tap][:1])
    )
    assert found["m"]["tap"] in ("blocks.1.mlp", "blocks.1.mlp.fc2")
    assert found["m"]["reshape"] == [1, 7, 12]
    assert found["c"]["tap"] == "patch_embed.proj"


def test_equal_taps_get_one_name_each(case: Any) -> None:
    arrays = {"a": case.trace["blocks.0"], "b": case.trace["blocks.0.add2"]}
    found = proposed(case, arrays)
    assert {entry["tap"] for entry in found.values()} == {"blocks.0", "blocks.0.add2"}
    assert [entry["sure"] for entry in found.values()] == ["sure", "sure"]


def test_after_a_wrong_step_names_that_are_sure_say_the_rest(case: Any) -> None:
    """Values tell block 0 up to its softmax; the other blocks have the same parts."""
    parts = {"ln": "norm1", "att.sm": "attn.softmax", "mlp.2": "mlp.fc2"}
    taps = {
        f"enc.{i + 1}.{own}{e}": f"blocks.{i}.{tap}{e}"
        for i in (0, 1)
        for own, tap in parts.items()
        for e in ("", ":dy")
    }
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(case.expected[tap]) for name, tap in taps.items()}
    arrays["enc.1.ln"] = case.trace["blocks.0.norm1"]
    found = proposed(case, arrays)
    named = {name: entry["tap"] for name, entry in found.items() if entry["tap"]}
    assert named == {name: tap for name, tap in taps.items() if ".ln" in name}
    assert {found[name]["sure"] for name in named} == {"sure", "by name"}


def test_no_output_is_taken_for_a_cotangent_where_names_say_which_is_which(case: Any) -> None:
    arrays = {"a": case.trace["blocks.0.norm1:dy"], "b:dy": case.trace["blocks.0.norm1:dy"]}
    found = proposed(case, arrays)
    assert (found["a"]["tap"], found["b:dy"]["tap"]) == (None, "blocks.0.norm1:dy")


def test_names_that_contradict_each_other_say_nothing() -> None:
    sure = {"a.0.x": "blocks.0.norm1", "a.1.x": "blocks.1.norm2"}
    assert alike.by_names(sure, ["a.2.x"]) == {}
    assert alike.by_names({"a.0.x": "blocks.0.norm1"}, ["a.2.x"]) == {"a.2.x": "blocks.2.norm1"}


def test_a_wrong_value_is_a_guess_by_name(case: Any) -> None:
    noise = np.random.default_rng(0).standard_normal((2, 7, 12))
    entry = proposed(case, {"blocks_1_norm2_out": noise})["blocks_1_norm2_out"]
    assert entry["guess"] == "blocks.1.norm2"
    assert entry["tap"] is None
    assert entry["sure"] == "guess"
    assert entry["error"] > 0.5


@pytest.mark.parametrize(("apart", "sure"), [(2e-3, "likely"), (1e-1, "sure")])
def test_a_value_that_two_taps_are_near_to_is_not_sure(case: Any, apart: float, sure: str) -> None:
    rng = np.random.default_rng(0)
    first, noise, other = rng.standard_normal((3, 2, 5))
    reference = {"norm": first, "tokens": first + apart * other}
    found = propose(
        {"x": first + 1e-3 * noise},
        expected={tap: array.shape for tap, array in reference.items()},
        config=case.config,
        reference=reference.__getitem__,
    )
    assert found["x"]["tap"] == "norm"
    assert found["x"]["sure"] == sure


def test_large_arrays_are_compared_on_the_same_sample(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "ELEMENTS", 20)
    found = proposed(case, {"x": case.trace["blocks.1.mlp.act"]})
    assert found["x"] == {"tap": "blocks.1.mlp.act", "sure": "sure", "error": 0.0}


def test_shape_alone(case: Any) -> None:
    arrays = {"scores_like": case.trace["blocks.0.attn.scores"], "unfolded": case.trace["patch_embed.unfold"]}
    only = {tap: shape for tap, shape in case.expected.items() if ":" not in tap}
    found = propose(arrays, expected=only, config=case.config)
    assert found["unfolded"] == {"tap": "patch_embed.unfold", "sure": "likely"}
    assert found["scores_like"]["sure"] == "guess"
    assert "scores" in found["scores_like"]["guess"]


def test_nothing_fits(case: Any) -> None:
    arrays = {"odd": np.zeros((11, 13)), "count": np.array([1, 2, 3])}
    found = proposed(case, arrays)
    assert found == {name: {"tap": None, "sure": "no tap fits"} for name in arrays}


def test_known_names_are_not_proposed_and_a_map_is_kept(case: Any) -> None:
    arrays = {"embed": case.trace["embed"], "a": case.trace["head"], "b": case.trace["norm"]}
    found = proposed(case, arrays, map={"a": "head"})
    assert list(found) == ["a", "b"]
    assert found["a"] == "head"


def test_the_error_over_unknown_names_says_what_they_seem_to_be(case: Any) -> None:
    arrays = {"a": case.trace["blocks.0.norm1"], "odd": np.zeros((11, 13)), "head": case.trace["head"]}
    with pytest.raises(ConfigError) as caught:
        case.open(arrays, reference=case.trace.__getitem__)
    text = str(caught.value)
    assert "a (2, 7, 12): blocks.0.norm1 (sure, the same values)" in text
    assert "odd (11, 13): no tap fits" in text
    assert "--propose-map" in text


def test_changes_of_layout_restore_the_shape(case: Any) -> None:
    for tap, shape in case.expected.items():
        for found in ((2, 7, 12), (2, 7, 3, 4), (2, 12, 2, 3), (12, 20), (3, 4, 12), shape):
            for way in fitting.changes(found, tap, shape):
                assert fitting.applied(np.zeros(found), way).shape == shape
