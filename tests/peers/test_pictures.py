"""vitref.preprocess against timm's transform and transformers' ViTImageProcessor, on pictures of odd sizes.

Each library writes its own config files, from which vitref reads what the pixels need.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file

import vitref
from tests.fixtures.make.pictures import HUGGINGFACE, SIZES, TIMM, picture
from tests.peers.running import run
from vitref import images

pytestmark = [pytest.mark.peers, pytest.mark.slow]

OFF_BY_ONE = {"huggingface_torchvision"}
"""torchvision resizes tensors of 8 bits with weights of another precision than Pillow's: some levels are
one off, none more."""


@pytest.fixture(scope="module")
def timm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run("pictures", tmp_path_factory.mktemp("timm"), TIMM)


@pytest.fixture(scope="module")
def huggingface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run("pictures", tmp_path_factory.mktemp("huggingface"), HUGGINGFACE)


@pytest.fixture(params=[*TIMM, *HUGGINGFACE])
def folder(request: pytest.FixtureRequest) -> Path:
    """Of one setting."""
    made: Path = request.getfixturevalue("timm" if request.param in TIMM else "huggingface")
    return made / str(request.param)


def pairs(
    folder: Path,
) -> Iterator[tuple[vitref.Preprocessing, npt.NDArray[np.uint8], npt.NDArray[np.float32]]]:
    """(recipe, picture, what the library made of it) for each size."""
    recipe = vitref.load(folder).preprocessing
    assert recipe is not None
    expected = load_file(folder / "pixels.safetensors")
    for size in SIZES:
        yield recipe, picture(size), expected["{}x{}".format(*size)]


def levels(pixels: npt.NDArray[np.float32], recipe: vitref.Preprocessing) -> npt.NDArray[np.float64]:
    """The 8-bit levels (H, W, C) from which normalised pixels (C, H, W) were made."""
    values = pixels.transpose(1, 2, 0).astype(np.float64)
    return np.rint((values * recipe.std + recipe.mean) * 255)


def test_levels(folder: Path) -> None:
    for recipe, array, expected in pairs(folder):
        difference = np.abs(images.crop([array], recipe)[0] - levels(expected, recipe))
        assert difference.max() <= (folder.name in OFF_BY_ONE)


def test_normalised_pixels(folder: Path) -> None:
    for recipe, array, expected in pairs(folder):
        level = 1 / 255 / min(recipe.std)
        bound = 1e-6 + level * (folder.name in OFF_BY_ONE)
        assert np.abs(vitref.preprocess(array, recipe)[0] - expected).max() < bound
