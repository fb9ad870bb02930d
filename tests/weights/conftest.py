"""A small model with unequal sizes, its weights, and a file of its tensors that says nothing else."""

from pathlib import Path

import numpy as np
import pytest

from vitref.config import Config
from vitref.preprocessing import Preprocessing
from vitref.weights import Weights
from vitref.weights.files import save_tensors


@pytest.fixture
def config() -> Config:
    return Config(
        image_size=(12, 12),
        patch_size=(4, 3),
        channels=3,
        width=12,
        depth=2,
        heads=3,
        head_dim=5,
        mlp_width=20,
        classes=7,
        eps=1e-6,
        activation="gelu_tanh",
        pool="token",
        qkv_bias=True,
        position_grid=(3, 4),
    )


@pytest.fixture
def recipe() -> Preprocessing:
    return Preprocessing(
        size=(12, 12),
        channels=3,
        resize="squash",
        resize_to=(14, 15),
        interpolation="bilinear",
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )


@pytest.fixture
def weights(config: Config, recipe: Preprocessing) -> Weights:
    """Every value different from every other's."""
    rng = np.random.default_rng(5)
    tensors = {name: rng.normal(size=shape).astype("f4") for name, shape in config.parameter_shapes().items()}
    return Weights(tensors, config, preprocessing=recipe)


@pytest.fixture
def square(tmp_path: Path) -> Path:
    """A bare file of a model with 3 x 3 patches of 4 x 4, two heads of 6, under timm's names."""
    made = Config.variant(
        "ViT-Ti/16",
        convention="timm",
        image_size=12,
        patch_size=4,
        width=12,
        depth=2,
        heads=2,
        mlp_width=20,
        classes=7,
    )
    rng = np.random.default_rng(6)
    shapes = made.parameter_shapes()
    path = tmp_path / "bare" / "model.safetensors"
    path.parent.mkdir()
    save_tensors(path, {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}, {})
    return path
