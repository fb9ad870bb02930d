"""Damaged checkpoints of timm and Hugging Face: loaded exactly, or refused with an error of ours.

`pytest --hypothesis-profile=long` runs many more inputs.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitref.config import Config
from vitref.errors import Error
from vitref.weights import Weights, load
from vitref.weights.files import save_tensors

quiet = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

SMALL = Config.variant(
    "ViT-Ti/16",
    convention="huggingface",
    image_size=4,
    patch_size=2,
    width=4,
    depth=2,
    heads=2,
    mlp_width=6,
    classes=3,
)
HUGGING_FACE: dict[str, Any] = {
    "architectures": ["ViTForImageClassification"],
    "hidden_act": "gelu",
    "hidden_size": 4,
    "id2label": {"0": "a", "1": "b", "2": "c"},
    "image_size": 4,
    "intermediate_size": 6,
    "layer_norm_eps": 1e-12,
    "model_type": "vit",
    "num_attention_heads": 2,
    "num_channels": 3,
    "num_hidden_layers": 2,
    "patch_size": 2,
}
PROCESSOR: dict[str, Any] = {"size": {"height": 4, "width": 4}, "resample": 2, "image_mean": [0.5, 0.5, 0.5]}
TIMM: dict[str, Any] = {
    "architecture": "made_up",
    "num_classes": 3,
    "global_pool": "token",
    "model_args": {
        "img_size": 4,
        "patch_size": 2,
        "embed_dim": 4,
        "depth": 2,
        "num_heads": 2,
        "mlp_ratio": 1.5,
    },
    "pretrained_cfg": {"input_size": [3, 4, 4], "crop_pct": 0.9, "mean": [0.5, 0.5, 0.5]},
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Format -> a folder with a sound model in it."""
    rng = np.random.default_rng(8)
    weights = Weights(
        {n: rng.normal(size=s).astype("f4") for n, s in SMALL.parameter_shapes().items()}, SMALL
    )
    made = {}
    for name, files in {
        "huggingface": {"config.json": HUGGING_FACE, "preprocessor_config.json": PROCESSOR},
        "timm": {"config.json": TIMM},
    }.items():
        made[name] = tmp_path_factory.mktemp(name)
        save_tensors(made[name] / "model.safetensors", weights.export(format=name), {})
        for file, content in files.items():
            (made[name] / file).write_text(json.dumps(content))
        load(made[name])
    return made


def changed(content: Any, path: list[str], value: Any) -> Any:
    """`content` with the entry at `path` replaced, or removed where the value is Ellipsis."""
    if not path:
        return value
    rest = {name: part for name, part in content.items() if name != path[0]}
    inner = changed(content.get(path[0], {}) if path[1:] else None, path[1:], value)
    return rest if inner is ... else {**rest, path[0]: inner}


def entries(content: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [(*prefix, name) for name in content]
    return found + [
        e for n, part in content.items() if isinstance(part, dict) for e in entries(part, (*prefix, n))
    ]


FILES = [("huggingface", "config.json", HUGGING_FACE), ("huggingface", "preprocessor_config.json", PROCESSOR)]
FILES += [("timm", "config.json", TIMM)]


@pytest.mark.parametrize(("format", "file", "content"), FILES)
@quiet
@given(data=st.data())
def test_a_config_file_with_any_value_anywhere(
    folders: dict[str, Path], format: str, file: str, content: Any, data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(entries(content)))
    value = data.draw(JSON | st.just(...))
    target = folders[format] / file
    target.write_text(json.dumps(changed(content, list(path), value)))
    error = refusal(folders[format])
    target.write_text(json.dumps(content))
    assert error is None or error.where.startswith(str(folders[format]))


@pytest.mark.parametrize("format", ["huggingface", "timm"])
@quiet
@given(data=st.data())
def test_tensors_dropped_renamed_reshaped_or_of_another_dtype(
    folders: dict[str, Path], format: str, data: st.DataObject
) -> None:
    weights = load(folders[format])
    tensors = weights.export()
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(tensors)))
        array = tensors.pop(name)
        shape = tuple(data.draw(st.lists(st.integers(0, 5), max_size=5)))
        dtype = data.draw(st.sampled_from(["f4", "f8", "f2", "i4", "u1", "?"]))
        new = data.draw(
            st.sampled_from([name, name + "x", name.replace("0", "7"), "blocks.0.", "vit.layers.1.x"])
        )
        options: list[Any] = [
            None,
            np.ones(array.shape, dtype),
            np.ones(shape, "f4"),
            np.full(array.shape, np.nan),
        ]
        if (made := data.draw(st.sampled_from([0, 1, 2, 3]))) and len(tensors) > 1:
            tensors[new] = options[made]
    target = folders[format] / "damaged.safetensors"
    target.write_bytes(safetensors.numpy.save({n: np.ascontiguousarray(a) for n, a in tensors.items()}))
    given = data.draw(
        st.sampled_from([{}, {"format": "timm"}, {"format": "huggingface"}, {"format": "google"}])
    )
    error = refusal(target, **given)
    assert error is None or (error.found and error.remedy.endswith("."))


def refusal(path: Path, **given: Any) -> Error | None:
    """Why the checkpoint is refused; None when it loads as a whole model."""
    try:
        weights = load(path, **given)
    except Error as error:
        return error
    assert {name: array.shape for name, array in weights.items()} == weights.config.parameter_shapes()
    return None
