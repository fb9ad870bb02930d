"""Explicit maps: placeholders, changes of layout, and every mistake that a map can have."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitref
from vitref.errors import CheckpointError, ConfigError
from vitref.verify.candidate import open_candidate, propose

QUERY = {"tap": "blocks.{L}.attn.q", "reshape": ["N", "T", "heads", "d"], "transpose": [0, 2, 1, 3]}


def queries(case: Any) -> dict[str, Any]:
    """Query, heads joined, of both blocks: (N, T, heads d)."""
    joined = {i: case.trace[f"blocks.{i}.attn.q"].transpose(0, 2, 1, 3) for i in (0, 1)}
    return {f"enc.{i}.q": array.reshape(2, 7, 12) for i, array in joined.items()}


def test_names_one_by_one_and_null(case: Any) -> None:
    arrays = {"a": case.trace["embed"], "b": case.trace["head"], "step": np.array(7)}
    candidate = case.open(arrays, map={"a": "embed", "b": {"tap": "head"}, "step": None})
    assert list(candidate) == ["embed", "head"]
    assert candidate.renamed == {"embed": "a", "head": "b"}


def test_a_map_from_a_file_with_placeholders_and_changes(case: Any, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"enc.{L}.q": QUERY}))
    candidate = case.open(queries(case), map=tmp_path / "map.json")
    assert list(candidate) == ["blocks.0.attn.q", "blocks.1.attn.q"]
    assert all(np.array_equal(candidate[tap], case.trace[tap]) for tap in candidate)


def test_changes_are_applied_in_their_order(case: Any) -> None:
    merged = {"tap": "blocks.0.attn.merge", "transpose": [0, 2, 1, 3], "reshape_after": ["N", "T", -1]}
    candidate = case.open({"c": case.trace["blocks.0.attn.context"]}, map={"c": merged})
    assert np.array_equal(candidate["blocks.0.attn.merge"], case.trace["blocks.0.attn.merge"])
    sorted_by_name = {key: QUERY[key] for key in ("transpose", "tap", "reshape")}
    candidate = case.open(queries(case), map={"enc.{L}.q": sorted_by_name})
    assert np.array_equal(candidate["blocks.1.attn.q"], case.trace["blocks.1.attn.q"])


def test_blocks_counted_from_another_number(case: Any) -> None:
    arrays = {f"layer{i + 1}": case.trace[f"blocks.{i}"] for i in (0, 1)}
    candidate = case.open(arrays, map={"layer{L}": "blocks.{L-1}"})
    assert candidate.renamed == {"blocks.0": "layer1", "blocks.1": "layer2"}


def test_a_prefix_is_an_error_unless_a_map_strips_it(case: Any) -> None:
    arrays = {f"model.vit.{name}": case.trace["embed"] for name in ("embeddings",)}
    arrays |= {"model.vit.layernorm:dy": case.trace["norm:dy"], "model.classifier": case.trace["head"]}
    with pytest.raises(ConfigError, match=r"all begin with 'model\.'") as caught:
        case.open(arrays)
    assert '{"model.*": "*"}' in caught.value.remedy
    found = propose(arrays, expected=case.expected, config=case.config)
    assert found == {"model.*": "*"}
    candidate = case.open(arrays, map=found)
    assert list(candidate) == ["embed", "head", "norm:dy"]


def test_a_map_may_give_the_name_of_a_library(case: Any) -> None:
    hub = case.weights.export(case.gradients(), format="huggingface")
    arrays = {name.replace("vit.encoder.layer.", "dW/l"): array for name, array in hub.items()}
    arrays = {name: array for name, array in arrays.items() if name.startswith("dW/l")}
    candidate = case.open(arrays, map={"dW/l*": "vit.encoder.layer.*:grad"})
    assert np.array_equal(
        candidate["blocks.1.attn.qkv.weight:grad"], case.trace["blocks.1.attn.qkv.weight:grad"]
    )


def test_full_names_go_before_placeholders_and_the_first_pattern_before_the_next(case: Any) -> None:
    arrays = {"x.embed": case.trace["embed"], "x.head": case.trace["head"], "x.debug": np.zeros(2)}
    rows = {"x.*": "*", "x.head": "logits", "x.debug": None, "*": "no such tap"}
    assert case.open(arrays, map=rows).renamed == {"embed": "x.embed", "logits": "x.head"}


def test_a_missing_batch_axis_is_added_by_one_entry(case: Any) -> None:
    expected = {tap: (1, *shape[1:]) for tap, shape in case.expected.items() if ":" not in tap}
    arrays = {tap: case.trace[tap][0] for tap in ("embed", "blocks.1.attn.softmax", "head")}
    with pytest.raises(ConfigError, match="without a batch axis") as caught:
        open_candidate(arrays, expected=expected, config=case.config)
    rows = caught.value.remedy.partition("adds it: ")[2].rstrip(".")
    candidate = open_candidate(arrays, expected=expected, config=case.config, map=json.loads(rows))
    assert np.array_equal(candidate["head"], case.trace["head"][:1])
    arrays["blocks.1.attn.softmax"] = np.zeros((3, 5, 5))
    with pytest.raises(ConfigError, match="do not fit"):
        open_candidate(arrays, expected=expected, config=case.config, map=json.loads(rows))


def test_names_that_the_map_does_not_mention_are_read_as_ever(case: Any) -> None:
    arrays = {"a": case.trace["embed"], "head": case.trace["head"]}
    assert list(case.open(arrays, map={"a": "embed"})) == ["embed", "head"]


WRONG: dict[str, tuple[Any, str]] = {
    "a name that the file lacks": ({"aa": "embed"}, r"'aa', which the candidate does not have"),
    "an unknown tap": ({"a": "embedding"}, r"the tap 'embedding'.*such as .*embed"),
    "a tap of another depth": ({"a": "blocks.7"}, r"the tap 'blocks\.7'"),
    "a tap that is no text": ({"a": 3}, "the tap 3"),
    "an unknown entry": ({"a": {"tap": "embed", "permute": [0, 1]}}, "the entry 'permute'"),
    "no tap": ({"a": {"reshape": [2]}}, "no tap"),
    "a size that is no number": ({"a": {"tap": "embed", "reshape": ["N", "X"]}}, "reshape"),
    "a size below -1": ({"a": {"tap": "embed", "reshape": [-2, 12]}}, "a list of sizes"),
    "an axis by name": ({"a": {"tap": "embed", "transpose": ["N", "T"]}}, "a list of axes"),
    "a reshape that does not fit": ({"a": {"tap": "embed", "reshape": [2, 5, 5]}}, "do not fit"),
    "axes that are no permutation": ({"a": {"tap": "embed", "transpose": [0, 1, 1]}}, "do not fit"),
    "another shape after the change": (
        {"a": {"tap": "embed", "transpose": [0, 2, 1]}},
        r"becomes \(2, 12, 7\)",
    ),
    "a placeholder of its own": ({"a": "blocks.{L}"}, "no placeholder that the name does not have"),
    "two placeholders for one": ({"*": "*.*"}, "no placeholder that the name does not have"),
    "a number for a star": ({"a*": "blocks.{L}"}, "no placeholder that the name does not have"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_maps(case: Any, name: str) -> None:
    rows, message = WRONG[name]
    with pytest.raises(ConfigError, match=message) as caught:
        case.open({"a": case.trace["embed"]}, map=rows)
    assert caught.value.where.startswith("map")


def test_two_names_for_one_tap(case: Any) -> None:
    arrays = {"a": case.trace["embed"], "b": case.trace["embed"]}
    with pytest.raises(CheckpointError, match="two arrays for embed: a and b"):
        case.open(arrays, map={"a": "embed", "b": "embed"})
    with pytest.raises(CheckpointError, match="two arrays for embed"):
        case.open({"a": case.trace["embed"], "embed": case.trace["embed"]}, map={"a": "embed"})


def test_a_map_that_is_no_json_object(case: Any, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text("[]")
    with pytest.raises(vitref.Error, match="a JSON list"):
        case.open({"a": case.trace["embed"]}, map=tmp_path / "map.json")


def test_a_map_that_leaves_everything_out(case: Any) -> None:
    with pytest.raises(ConfigError, match="all left out"):
        case.open({"a": case.trace["embed"]}, map={"*": None})
