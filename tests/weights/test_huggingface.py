"""Hugging Face: both namings with and without prefix, the config files, what does not fit, the way back."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitref.config import Config
from vitref.errors import CheckpointError, ConfigError
from vitref.preprocessing import Preprocessing
from vitref.weights import Weights, load
from vitref.weights.files import load_tensors, save_tensors

WIDTH, DEPTH, HIDDEN, CLASSES = 12, 2, 20, 7

CONFIG: dict[str, Any] = {
    "architectures": ["ViTForImageClassification"],
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": WIDTH,
    "id2label": {str(i): f"LABEL_{i}" for i in range(CLASSES)},
    "image_size": [12, 9],
    "intermediate_size": HIDDEN,
    "layer_norm_eps": 1e-12,
    "model_type": "vit",
    "num_attention_heads": 3,
    "num_channels": 3,
    "num_hidden_layers": DEPTH,
    "patch_size": 3,
    "qkv_bias": True,
}

PROCESSOR: dict[str, Any] = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.1, 0.2, 0.3],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.4, 0.5, 0.6],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 12, "width": 9},
}

HUB = {
    "query": "encoder.layer.{}.attention.attention.query",
    "key": "encoder.layer.{}.attention.attention.key",
    "value": "encoder.layer.{}.attention.attention.value",
    "out": "encoder.layer.{}.attention.output.dense",
    "fc1": "encoder.layer.{}.intermediate.dense",
    "fc2": "encoder.layer.{}.output.dense",
    "before": "encoder.layer.{}.layernorm_before",
    "after": "encoder.layer.{}.layernorm_after",
}
MODULES = {
    "query": "layers.{}.attention.q_proj",
    "key": "layers.{}.attention.k_proj",
    "value": "layers.{}.attention.v_proj",
    "out": "layers.{}.attention.o_proj",
    "fc1": "layers.{}.mlp.fc1",
    "fc2": "layers.{}.mlp.fc2",
    "before": "layers.{}.layernorm_before",
    "after": "layers.{}.layernorm_after",
}
"""As `state_dict` of transformers 4.57 and 5.23 names them."""


def names(
    inner: dict[str, str] = HUB, prefix: str = "vit.", last: str = "classifier"
) -> dict[str, tuple[int, ...]]:
    """Name -> shape, written down independently of the format's own table."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}embeddings.cls_token": (1, 1, WIDTH),
        f"{prefix}embeddings.position_embeddings": (1, 13, WIDTH),
        f"{prefix}embeddings.patch_embeddings.projection.weight": (WIDTH, 3, 3, 3),
        f"{prefix}embeddings.patch_embeddings.projection.bias": (WIDTH,),
        f"{prefix}layernorm.weight": (WIDTH,),
        f"{prefix}layernorm.bias": (WIDTH,),
    }
    sizes = {"fc1": (HIDDEN, WIDTH), "fc2": (WIDTH, HIDDEN), "before": (WIDTH,), "after": (WIDTH,)}
    for i in range(DEPTH):
        for part, name in inner.items():
            weight = sizes.get(part, (WIDTH, WIDTH))
            shapes[f"{prefix}{name.format(i)}.weight"] = weight
            shapes[f"{prefix}{name.format(i)}.bias"] = weight[:1]
    rows = {"classifier": CLASSES, "pooler.dense": 5}.get(last)
    where = "" if last == "classifier" else prefix
    return shapes | ({f"{where}{last}.weight": (rows, WIDTH), f"{where}{last}.bias": (rows,)} if rows else {})


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}


def write(folder: Path, tensors: dict[str, Any], config: Any = CONFIG, processor: Any = None) -> Path:
    save_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    for name, content in (("config.json", config), ("preprocessor_config.json", processor)):
        if content is not None:
            (folder / name).write_text(json.dumps(content))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, drawn(names()), processor=PROCESSOR)


def test_a_folder_says_everything(folder: Path) -> None:
    weights = load(folder)
    assert weights.config == Config(
        image_size=(12, 9),
        patch_size=(3, 3),
        channels=3,
        width=WIDTH,
        depth=DEPTH,
        heads=3,
        mlp_width=HIDDEN,
        classes=CLASSES,
        eps=1e-12,
        activation="gelu",
        pool="token",
        qkv_bias=True,
        position_grid=(4, 3),
        position_resize="bicubic",
    )
    assert weights.preprocessing == Preprocessing(
        size=(12, 9),
        channels=3,
        resize="squash",
        resize_to=(12, 9),
        interpolation="bicubic",
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )
    provenance = weights.source.provenance
    assert provenance["heads"] == "config.json: num_attention_heads"
    assert provenance["classes"] == "config.json: id2label"
    assert provenance["mean"] == "preprocessor_config.json: image_mean"
    assert provenance["position_resize"].startswith("convention huggingface (transformers/")
    assert weights.source.format == "huggingface"


@pytest.mark.parametrize("last", ["classifier", "pooler.dense", "nothing"])
@pytest.mark.parametrize("prefix", ["vit.", ""])
@pytest.mark.parametrize("inner", [HUB, MODULES], ids=["hub", "modules"])
def test_every_naming_there_and_back(tmp_path: Path, inner: dict[str, str], prefix: str, last: str) -> None:
    tensors = drawn(names(inner, prefix, last))
    config = (
        CONFIG if last == "classifier" else {**CONFIG, "architectures": ["ViTModel"], "pooler_output_size": 5}
    )
    weights = load(write(tmp_path, tensors, config))
    assert weights.config.classes == (CLASSES if last == "classifier" else 0)
    assert weights.config.pre_logits == (5 if last == "pooler.dense" else 0)
    same(weights.export(), tensors)
    weights.save(tmp_path / "again.safetensors")
    same(load_tensors(tmp_path / "again.safetensors")[0], tensors)
    again = load(tmp_path / "again.safetensors")
    assert again.config == weights.config
    same(dict(again), dict(weights))


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes(), name
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), name


@pytest.mark.parametrize("inner", [HUB, MODULES], ids=["hub", "modules"])
def test_what_stands_where(tmp_path: Path, inner: dict[str, str]) -> None:
    tensors = drawn(names(inner))
    weights = load(write(tmp_path, tensors))
    for i in range(DEPTH):
        for ending in ("weight", "bias"):
            file = {part: tensors[f"vit.{name.format(i)}.{ending}"] for part, name in inner.items()}
            qkv = weights[f"blocks.{i}.attn.qkv.{ending}"]
            for part, rows in zip(("query", "key", "value"), np.split(qkv, 3), strict=True):
                assert np.array_equal(rows, file[part])
            ours = {
                "attn.proj": "out",
                "mlp.fc1": "fc1",
                "mlp.fc2": "fc2",
                "norm1": "before",
                "norm2": "after",
            }
            for name, part in ours.items():
                assert np.array_equal(weights[f"blocks.{i}.{name}.{ending}"], file[part])
    assert np.array_equal(weights["pos_embed"], tensors["vit.embeddings.position_embeddings"])
    assert np.array_equal(weights["norm.bias"], tensors["vit.layernorm.bias"])
    assert np.array_equal(weights["head.weight"], tensors["classifier.weight"])


def test_gradients_are_split_too(folder: Path) -> None:
    weights = load(folder)
    gradient = np.arange(3 * WIDTH * WIDTH, dtype=float).reshape(3 * WIDTH, WIDTH)
    found = weights.export({"blocks.1.attn.qkv.weight": gradient})
    start = "vit.encoder.layer.1.attention.attention."
    assert list(found) == [f"{start}{part}.weight" for part in ("query", "key", "value")]
    assert np.array_equal(np.concatenate(list(found.values())), gradient)


def test_without_biases_and_in_16_bits(tmp_path: Path) -> None:
    import ml_dtypes

    tensors = {
        name: array.astype(ml_dtypes.bfloat16)
        for name, array in drawn(names()).items()
        if not name.endswith(("query.bias", "key.bias", "value.bias"))
    }
    weights = load(write(tmp_path, tensors, {**CONFIG, "qkv_bias": False}))
    assert not weights.config.qkv_bias
    same(weights.export(), tensors)


def test_from_and_to_timm_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    weights = load(folder)
    weights.save(tmp_path / "timm.safetensors", format="timm")
    as_timm = load(tmp_path / "timm.safetensors")
    assert as_timm.source.format == "timm"
    same(as_timm.export(format="huggingface"), load_tensors(folder / "model.safetensors")[0])
    as_timm.save(tmp_path / "back.safetensors", format="huggingface")
    back = load(tmp_path / "back.safetensors")
    assert (back.config, back.preprocessing) == (weights.config, weights.preprocessing)
    same(dict(back), dict(weights))


def test_a_bare_model_is_written_without_prefix(weights: Weights, config: Config) -> None:
    assert "vit.embeddings.cls_token" in weights.export(format="huggingface")
    headless = {name: array for name, array in weights.items() if not name.startswith("head.")}
    values = {**config.to_dict(), "classes": 0}
    assert "embeddings.cls_token" in Weights(headless, Config(**values)).export(format="huggingface")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layer_scale": True}, "layer_scale=True"),
        ({"pool": "mean"}, "pool='mean'"),
        ({"class_token": False, "pool": "mean"}, "class_token=False, pool='mean'"),
        ({"class_position": False}, "class_position=False"),
        ({"final_norm": "pooled"}, "final_norm='pooled'"),
        ({"pre_logits": 5}, "pre_logits=5"),
    ],
)
def test_what_transformers_has_no_place_for(config: Config, changed: dict[str, Any], message: str) -> None:
    other = Config(**{**config.to_dict(), **changed})
    weights = Weights({n: np.zeros(s, "f4") for n, s in other.parameter_shapes().items()}, other)
    with pytest.raises(ConfigError) as caught:
        weights.export(format="huggingface")
    assert caught.value.found == message


def test_all_that_does_not_fit_is_told_in_the_files_own_names(folder: Path) -> None:
    tensors = dict(load_tensors(folder / "model.safetensors")[0])
    layer = "vit.encoder.layer."
    del tensors[f"{layer}0.attention.attention.key.weight"]
    tensors[f"{layer}1.attention.attention.value.bias"] = np.zeros(5, "f4")
    tensors["vit.embeddings.mask_token"] = np.zeros((1, 1, WIDTH), "f4")
    tensors["vit.pooler.dense.bias"] = np.zeros(WIDTH, "f4")
    tensors["classifier.bias"] = np.zeros(CLASSES, "i8")
    write(folder, tensors)
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert caught.value.found.splitlines()[1:] == [
        f"  missing {layer}0.attention.attention.key.weight",
        "  extra vit.embeddings.mask_token (1, 1, 12): masked-image training, not supported in this version",
        "  extra vit.pooler.dense.bias (12,): a pooler beside a classifier, which transformers does not use, "
        "not supported in this version",
        f"  misshapen {layer}1.attention.attention.value.bias (5,), expected (12,)",
        "  dtype of classifier.bias int64, expected float64, float32, float16, bfloat16",
    ]


@pytest.mark.parametrize("name", sorted(names()))
def test_any_tensor_may_be_the_missing_one(folder: Path, name: str) -> None:
    tensors = dict(load_tensors(folder / "model.safetensors")[0])
    del tensors[name]
    write(folder, tensors)
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert caught.value.found.splitlines()[1:] == [f"  missing {name}"]


def test_a_missing_block(folder: Path) -> None:
    tensors = dict(load_tensors(folder / "model.safetensors")[0])
    write(folder, {n: array for n, array in tensors.items() if "layer.0." not in n})
    with pytest.raises(CheckpointError, match="missing vit.encoder.layer.0, all of it"):
        load(folder)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"hidden_size": 24}, "width 24 (config.json: hidden_size), but 12 by the tensors"),
        ({"num_hidden_layers": 3}, "depth 3 (config.json: num_hidden_layers), but 2"),
        ({"intermediate_size": 48}, "mlp_width 48"),
        ({"num_channels": 1}, "channels 1"),
        ({"patch_size": [3, 4]}, "patch_size (3, 4)"),
        ({"image_size": 24}, "position_grid (8, 8) (config.json: image_size over patch_size (3, 3)), but 12"),
        ({"image_size": [9, 9]}, "position_grid (3, 3)"),
        ({"qkv_bias": False}, "qkv_bias False"),
        ({"id2label": {"0": "a"}}, "classes 1 (config.json: id2label), but 7"),
        ({"id2label": None, "num_labels": 8}, "classes 8 (config.json: num_labels)"),
        ({"id2label": None}, "classes 2 (transformers/configuration_utils.py"),
        ({"num_attention_heads": 5}, "heads 5 (config.json: num_attention_heads) is no divisor of 12"),
    ],
)
def test_a_config_file_that_contradicts_the_tensors(
    folder: Path, changed: dict[str, Any], found: str
) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changed}))
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert found in str(caught.value)


def test_a_classifier_that_the_config_file_names_and_the_tensors_lack(folder: Path) -> None:
    tensors = dict(load_tensors(folder / "model.safetensors")[0])
    write(folder, {n: array for n, array in tensors.items() if "classifier" not in n})
    with pytest.raises(ConfigError, match="classes 7 .*, but 0 by the tensors"):
        load(folder)
    assert load(folder, classes=0).config.classes == 0


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"model_type": "dinov2"}, "config.json: model_type"),
        ({"hidden_act": "relu"}, "config.json: hidden_act"),
        ({"hidden_act": ["gelu"]}, "config.json: hidden_act"),
        ({"image_size": "big"}, "config.json: image_size"),
        ({"image_size": 0}, "config.json: image_size"),
        ({"patch_size": [3]}, "config.json: patch_size"),
        ({"layer_norm_eps": "small"}, "config.json: layer_norm_eps"),
        ({"num_attention_heads": 0}, "config.json: num_attention_heads"),
        ({"head_dim": 5}, ""),
    ],
)
def test_a_config_file_with_a_wrong_entry(folder: Path, changed: dict[str, Any], where: str) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changed}))
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert caught.value.where.endswith(where)


@pytest.mark.parametrize(
    ("name", "activation"), [("gelu", "gelu"), ("gelu_new", "gelu_tanh"), ("gelu_pytorch_tanh", "gelu_tanh")]
)
def test_activations(folder: Path, name: str, activation: str) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, "hidden_act": name}))
    assert load(folder).config.activation == activation


def test_what_an_old_config_file_leaves_out_is_transformers_own_default(tmp_path: Path) -> None:
    left = {
        name: value
        for name, value in CONFIG.items()
        if name not in ("qkv_bias", "hidden_act", "layer_norm_eps")
    }
    weights = load(write(tmp_path, drawn(names()), left))
    assert (weights.config.eps, weights.config.activation) == (1e-12, "gelu")
    assert "configuration_vit.py" in weights.source.provenance["eps"]


def test_a_pooler_of_another_kind_is_refused(tmp_path: Path) -> None:
    bare = {**CONFIG, "architectures": ["ViTModel"], "pooler_output_size": 5}
    tensors = drawn(names(HUB, "", "pooler.dense"))
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, tensors, {**bare, "pooler_act": "relu"}))
    assert caught.value.where.endswith("config.json: pooler_act")
    with pytest.raises(ConfigError, match="pre_logits 12 .*, but 5"):
        load(write(tmp_path, tensors, {**bare, "pooler_output_size": None}))


def test_a_bare_file_needs_a_convention_and_heads(tmp_path: Path) -> None:
    write(tmp_path, drawn(names()), None)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    opened = [line.split()[0] for line in caught.value.found.splitlines()[1:]]
    assert opened == ["heads", "eps", "activation", "position_grid"]
    weights = load(tmp_path, convention="huggingface", heads=3, position_grid=(4, 3))
    assert (weights.config.eps, weights.config.activation, weights.config.pool) == (1e-12, "gelu", "token")
    assert weights.preprocessing is not None
    assert (weights.preprocessing.resize, weights.preprocessing.interpolation) == ("squash", "bilinear")


def test_timms_config_file_beside_it_is_left_aside(folder: Path) -> None:
    (folder / "config.json").write_text('{"architecture": "vit_tiny_patch16_224"}')
    with pytest.raises(ConfigError, match="not one that huggingface writes"):
        load(folder)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"do_center_crop": True}, "do_center_crop=True"),
        ({"do_resize": False}, "do_resize=False"),
        ({"do_rescale": False}, "do_rescale=False"),
        ({"rescale_factor": 1.0}, "rescale_factor=1.0"),
        ({"rescale_factor": "x"}, "rescale_factor='x'"),
        ({"do_pad": True, "do_something": True}, "do_pad=True, do_something=True"),
        ({"image_processor_type": "CLIPImageProcessor"}, "image_processor_type='CLIPImageProcessor'"),
        ({"image_processor_type": ["x"]}, "image_processor_type=['x']"),
        ({"size": {"shortest_edge": 12}}, "shortest_edge"),
        ({"size": "x"}, "'x'"),
        ({"resample": 4}, "resample: found 4"),
        ({"resample": "bilinear"}, "resample"),
        ({"do_normalize": "x"}, "do_normalize: found 'x'"),
        ({"image_mean": [0.1, 0.2]}, "preprocessor_config.json: image_mean: found [0.1, 0.2]"),
        ({"image_std": [0, 1, 1]}, "preprocessor_config.json: image_std"),
        ({"size": {"height": 24, "width": 24}}, "expected (12, 9), the model's image_size"),
    ],
)
def test_a_processor_that_is_not_supported(folder: Path, changed: dict[str, Any], message: str) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, **changed}))
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert message in str(caught.value)


def test_without_normalisation(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, "do_normalize": False}))
    recipe = load(folder).preprocessing
    assert recipe is not None
    assert (recipe.mean, recipe.std) == ((0, 0, 0), (1, 1, 1))


def test_another_image_size_needs_no_other_processor(folder: Path) -> None:
    weights = load(folder, image_size=(24, 18))
    assert weights.config.position_grid == (4, 3)
    assert weights.preprocessing is not None
    assert (weights.preprocessing.size, weights.preprocessing.resize_to) == ((24, 18), (24, 18))


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-3], lambda text: "[]", lambda text: '{"size": 1, "size": 2}']
)
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_damaged_config_files(folder: Path, name: str, damage: Callable[[str], str]) -> None:
    (folder / name).write_text(damage((folder / name).read_text()))
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert caught.value.where == str(folder / name)


def test_a_config_file_without_model_type_is_refused(tmp_path: Path) -> None:
    write(tmp_path, drawn(names()), {name: CONFIG[name] for name in CONFIG if name != "model_type"})
    with pytest.raises(ConfigError, match="model_type: found nothing"):
        load(tmp_path)


def test_equal_statistics_of_a_wrong_number_of_channels(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, "image_std": [0.5, 0.5]}))
    with pytest.raises(ConfigError, match=r"image_std: found \[0.5, 0.5\]"):
        load(folder)


def test_facts_are_told_by_the_names_in_the_file(folder: Path) -> None:
    provenance = load(folder).source.provenance
    (folder / "config.json").unlink()
    bare = load(folder, convention="huggingface", heads=3, position_grid=(4, 3)).source.provenance
    assert bare["mlp_width"] == "shape of vit.encoder.layer.0.intermediate.dense.weight (20, 12)"
    assert bare["qkv_bias"] == "vit.encoder.layer.0.attention.attention.query.bias is present"
    assert bare["final_norm"] == provenance["final_norm"] == "vit.layernorm.weight is present"


LABELS = {str(i): name for i, name in enumerate(["ant", "bee", "cat", "dog", "eel", "fox", "gnu"])}


def test_the_names_of_the_classes_are_kept(folder: Path, tmp_path: Path) -> None:
    assert load(folder).source.classes == ()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "id2label": LABELS}))
    weights = load(folder)
    assert weights.source.classes == tuple(LABELS.values())
    assert weights.source.provenance["class names"] == "config.json: id2label"
    weights.save(tmp_path / "again.npz", format="google")
    again = load(tmp_path / "again.npz")
    assert again.source.classes == weights.source.classes
    assert again.source.provenance["class names"] == "metadata of again.npz"
    assert pickle.loads(pickle.dumps(again)).source == again.source
    assert weights.replace({"head.bias": weights["head.bias"]}).source.classes == weights.source.classes


@pytest.mark.parametrize("labels", [{**LABELS, "0": 3}, {f"{k}x": name for k, name in LABELS.items()}])
def test_names_that_do_not_fit_the_classes_are_left_out(folder: Path, labels: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, "id2label": labels}))
    source = load(folder).source
    assert source.classes == ()
    assert source.provenance["class names"].startswith("none: config.json: id2label has not one name")


def test_the_remedy_of_a_wrong_image_size_names_what_belongs_together(tmp_path: Path) -> None:
    config = {**CONFIG, "image_size": 24, "patch_size": 3}
    square = {**names(), "vit.embeddings.position_embeddings": (1, 17, WIDTH)}
    write(tmp_path, drawn(square), config)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    remedy = "Correct config.json, or give position_grid=(4, 4) and image_size=(12, 12) together."
    assert caught.value.remedy == remedy
    assert load(tmp_path, position_grid=(4, 4), image_size=(12, 12)).config.grid == (4, 4)
