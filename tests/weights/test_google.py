"""Google's names and layouts: against sums worked out here, both ways bit for bit, and what is refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vitref
from vitref.config import Config
from vitref.errors import CheckpointError, ConfigError
from vitref.weights import Weights, load
from vitref.weights.formats import google
from vitref.weights.npz import load_arrays, save_arrays

Arrays = dict[str, npt.NDArray[Any]]
STYLES = [style.style for style in google.STYLES]
BLOCK = "Transformer/encoderblock_1/"
ATTENTION = BLOCK + "MultiHeadDotProductAttention_1/"


def model(**given: Any) -> Config:
    """3 heads of 5 in a width of 15: a mix-up of heads and head_dim changes shapes or values."""
    fields: dict[str, Any] = {
        "image_size": (12, 12),
        "patch_size": (4, 4),
        "channels": 3,
        "width": 15,
        "depth": 2,
        "heads": 3,
        "mlp_width": 20,
        "classes": 7,
        "eps": 1e-6,
        "activation": "gelu_tanh",
        "pool": "token",
        "qkv_bias": True,
        "position_grid": (3, 3),
        "position_resize": "bilinear_corners",
    }
    return Config(**(fields | given))


MODELS = {
    "token": model(),
    "mean": model(class_token=False, pool="mean"),
    "representation": model(pre_logits=6),
    "no head": model(classes=0),
    "patches not square": model(patch_size=(4, 3), position_grid=(3, 4)),
}


def drawn(config: Config, dtype: str = "f4") -> Arrays:
    rng = np.random.default_rng(7)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in config.parameter_shapes().items()}


def written(path: Path, config: Config, style: str = "", changed: Mapping[str, Any] | None = None) -> Path:
    """A file as Google's code would write it; `changed` gives other arrays, or None for one to leave out."""
    form = next(form for form in google.STYLES if form.style == style)
    arrays: dict[str, Any] = form.from_canonical(drawn(config), config) | dict(changed or {})
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_layouts_are_those_of_the_source() -> None:
    """Each canonical weight applied as a matrix does what Flax does with its own kernel."""
    config, rng = model(), np.random.default_rng(8)
    theirs = {
        n: rng.normal(size=a.shape) for n, a in google.FORMAT.from_canonical(drawn(config), config).items()
    }
    ours = google.FORMAT.to_canonical(theirs)
    x = rng.normal(size=15)
    qkv = ours["blocks.1.attn.qkv.weight"] @ x + ours["blocks.1.attn.qkv.bias"]
    for i, who in enumerate(("query", "key", "value")):
        kernel, bias = theirs[f"{ATTENTION}{who}/kernel"], theirs[f"{ATTENTION}{who}/bias"]
        assert kernel.shape == (15, 3, 5)
        for head in range(3):
            exact = [sum(x[c] * kernel[c, head, d] for c in range(15)) + bias[head, d] for d in range(5)]
            np.testing.assert_allclose(qkv[15 * i + 5 * head :][:5], exact, rtol=1e-13)
    context, out = rng.normal(size=(3, 5)), theirs[f"{ATTENTION}out/kernel"]
    exact = [sum(context[h, d] * out[h, d, c] for h in range(3) for d in range(5)) for c in range(15)]
    np.testing.assert_allclose(ours["blocks.1.attn.proj.weight"] @ context.ravel(), exact, rtol=1e-12)
    for canonical, name in (("mlp.fc1", "MlpBlock_3/Dense_0"), ("mlp.fc2", "MlpBlock_3/Dense_1")):
        np.testing.assert_array_equal(
            ours[f"blocks.1.{canonical}.weight"], np.transpose(theirs[f"{BLOCK}{name}/kernel"])
        )
    patch, conv = ours["patch_embed.proj.weight"], theirs["embedding/kernel"]
    assert all(patch[o, c, i, j] == conv[i, j, c, o] for o, c, i, j in np.ndindex(patch.shape))
    np.testing.assert_array_equal(ours["norm.weight"], theirs["Transformer/encoder_norm/scale"])
    np.testing.assert_array_equal(ours["blocks.1.norm2.bias"], theirs[f"{BLOCK}LayerNorm_2/bias"])
    np.testing.assert_array_equal(ours["head.weight"].T, theirs["head/kernel"])


def test_published_names_are_written() -> None:
    names = set(google.FORMAT.from_canonical(drawn(model(pre_logits=6)), model(pre_logits=6)))
    inner = {f"MultiHeadDotProductAttention_1/{who}" for who in ("query", "key", "value", "out")}
    inner |= {"MlpBlock_3/Dense_0", "MlpBlock_3/Dense_1"}
    expected = {
        f"{layer}/{part}" for layer in ("embedding", "pre_logits", "head") for part in ("kernel", "bias")
    }
    expected |= {"cls", "Transformer/posembed_input/pos_embedding"}
    norms = ["Transformer/encoder_norm"]
    for i in range(2):
        block = f"Transformer/encoderblock_{i}/"
        expected |= {f"{block}{layer}/{part}" for layer in inner for part in ("kernel", "bias")}
        norms += [f"{block}LayerNorm_0", f"{block}LayerNorm_2"]
    assert names == expected | {f"{norm}/{part}" for norm in norms for part in ("scale", "bias")}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", MODELS)
def test_files_are_loaded_and_written_again_bit_for_bit(kind: str, style: str, tmp_path: Path) -> None:
    config = MODELS[kind]
    file, tensors = written(tmp_path / "a.npz", config, style), drawn(config)
    given: dict[str, Any] = {"position_grid": (3, 4)} if kind == "patches not square" else {}
    weights = load(file, **given)
    assert weights.config == config
    assert (weights.source.format, weights.source.style) == ("google", style)
    for name, array in tensors.items():
        assert (weights[name].dtype, weights[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(weights[name], array)
    theirs = load_arrays(file)[0]
    for export in (weights.export(), resaved(weights, tmp_path / "b.npz")):
        assert set(export) == set(theirs)
        for name, array in theirs.items():
            assert export[name].shape == array.shape
            np.testing.assert_array_equal(export[name], array)
    again = load(tmp_path / "b.npz")
    assert (again.config, again.preprocessing) == (weights.config, weights.preprocessing)
    assert again.source.style == style


def resaved(weights: Weights, path: Path) -> Arrays:
    weights.save(path)
    return load_arrays(path)[0]


def test_gradients_are_exported_in_googles_layout(tmp_path: Path) -> None:
    weights = load(written(tmp_path / "a.npz", model()))
    image = np.random.default_rng(9).normal(size=(2, 3, 12, 12))
    gradients = vitref.backward(weights, image, [1, 5], dtype="float64").weights
    theirs = weights.export(gradients)
    assert {name: array.shape for name, array in theirs.items()} == {
        name: array.shape for name, array in weights.export().items()
    }
    kernel = theirs[f"{ATTENTION}key/kernel"]
    np.testing.assert_array_equal(gradients["blocks.1.attn.qkv.weight"][15:30], kernel.reshape(15, 15).T)
    assert (theirs["embedding/kernel"] == gradients["patch_embed.proj.weight"].transpose(2, 3, 1, 0)).all()


def test_facts_come_from_layouts_and_the_convention(tmp_path: Path) -> None:
    weights = load(written(tmp_path / "a.npz", model()))
    provenance = weights.source.provenance
    assert (
        provenance["heads"] == f"shape of {ATTENTION.replace('_1/Multi', '_0/Multi')}query/kernel (15, 3, 5)"
    )
    assert "cls is present" in provenance["pool"]
    assert provenance["class_token"] == "cls is present"
    first = "shape of Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel (15, "
    assert provenance["mlp_width"].startswith(first)
    bias = f"{ATTENTION.replace('_1/Multi', '_0/Multi')}query/bias"
    assert provenance["qkv_bias"] == f"{bias} is present"
    assert "convention google" in provenance["eps"]
    recipe = weights.preprocessing
    assert recipe is not None
    assert (recipe.resize, recipe.resize_to, recipe.interpolation) == ("squash", (12, 12), "bilinear_tf")
    assert (recipe.mean, recipe.std) == ((0.5,) * 3, (0.5,) * 3)
    assert load(written(tmp_path / "b.npz", MODELS["mean"])).config.pool == "mean"
    assert load(tmp_path / "a.npz", eps=1e-5, activation="gelu").config.activation == "gelu"


@pytest.mark.parametrize("dtype", ["f2", "f8"])
def test_other_float_types_are_kept(dtype: str, tmp_path: Path) -> None:
    config = model()
    np.savez(tmp_path / "a.npz", **google.FORMAT.from_canonical(drawn(config, dtype), config))
    assert {array.dtype for array in load(tmp_path / "a.npz").values()} == {np.dtype(dtype)}


def test_a_head_of_zeros_is_a_head(tmp_path: Path) -> None:
    zeros = {"head/kernel": np.zeros((15, 7), "f4"), "head/bias": np.zeros(7, "f4")}
    weights = load(written(tmp_path / "a.npz", model(), changed=zeros))
    assert weights.config.classes == 7
    assert not weights["head.weight"].any()


def test_the_state_of_the_training_is_listed_not_loaded(tmp_path: Path) -> None:
    state = {f"opt/state/param_states/{i}/grad_ema": np.zeros(3) for i in range(20)}
    state["opt/state/step"] = np.array(7)
    path = written(tmp_path / "a.npz", model(), "opt/target/", state)
    weights = load(path)
    assert weights.config == model()
    assert "opt/state/param_states/0/grad_ema" in weights.source.provenance["not loaded"]
    assert "and 13 more" in weights.source.provenance["not loaded"]
    with pytest.raises(CheckpointError, match="extra opt/state/step"):
        load(written(tmp_path / "b.npz", model(), changed={"opt/state/step": np.zeros(())}))


def test_problems_are_named_as_in_the_file_all_at_once(tmp_path: Path) -> None:
    changed = {
        "cls": np.zeros((1, 15), "f4"),
        f"{ATTENTION}key/kernel": np.zeros((15, 5, 3), "f4"),
        f"{BLOCK}LayerNorm_2/bias": None,
        "stray": np.zeros(2, "f4"),
        "head/bias": np.zeros(7, "i4"),
    }
    with pytest.raises(CheckpointError) as caught:
        load(written(tmp_path / "a.npz", model(), changed=changed))
    found = caught.value.found
    assert "misshapen cls (1, 15), expected (1, 1, 15)" in found
    assert f"misshapen {ATTENTION}key/kernel (15, 5, 3), expected (15, 3, 5)" in found
    assert f"missing {BLOCK}LayerNorm_2/bias" in found
    assert "extra stray (2,)" in found
    assert "head/bias int32" in found


def test_mixed_dtypes_of_query_and_key_are_refused(tmp_path: Path) -> None:
    mixed = {f"{ATTENTION}key/kernel": np.zeros((15, 3, 5), "f8")}
    with pytest.raises(CheckpointError, match="float32, float64, float32"):
        load(written(tmp_path / "a.npz", model(), changed=mixed))


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("conv_root/kernel", "a convolutional stem"),
        ("block1/unit1/conv1/kernel", "a convolutional stem"),
        ("MAPHead_0/probe", "attention pooling"),
    ],
)
def test_features_of_other_models_are_named(name: str, feature: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{feature}, not supported"):
        load(written(tmp_path / "a.npz", model(), changed={name: np.zeros(2, "f4")}))


@pytest.mark.parametrize(
    "changed",
    [
        {"layer_scale": True},
        {"final_norm": "pooled"},
        {"class_position": False},
        {"qkv_bias": False},
        {"pool": "mean"},
        {"pool": "mean_all", "class_token": False},
    ],
)
def test_models_that_google_does_not_have_are_not_exported(changed: dict[str, Any]) -> None:
    config = model(**changed)
    with pytest.raises(ConfigError, match="format google: found") as caught:
        Weights(drawn(config), config).export(format="google")
    assert next(iter(changed)) in caught.value.found


LENGTHS = st.integers(0, 16)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzzed_names_and_shapes_raise_nothing_else(data: st.DataObject, tmp_path: Path) -> None:
    """Some arrays of a sound file are renamed, left out or given another shape or dtype."""
    config = model(depth=1)
    arrays = google.FORMAT.from_canonical(drawn(config), config)
    for name in data.draw(st.lists(st.sampled_from(sorted(arrays)), min_size=1, max_size=4, unique=True)):
        array = arrays.pop(name)
        what = data.draw(st.sampled_from(["drop", "rename", "reshape", "retype"]))
        if what == "rename":
            arrays[name + "x" if data.draw(st.booleans()) else name.replace("_0", "_7")] = array
        elif what == "reshape":
            arrays[name] = np.zeros(data.draw(st.lists(LENGTHS, max_size=4)), "f4")
        elif what == "retype":
            arrays[name] = array.astype(data.draw(st.sampled_from(["f2", "f8", "i4"])))
    save_arrays(tmp_path / "a.npz", arrays, {})
    try:
        weights = load(tmp_path / "a.npz")
    except (CheckpointError, ConfigError):
        return
    assert {name: array.shape for name, array in weights.export().items()} == {
        name: array.shape for name, array in arrays.items()
    }
