"""Preprocessing a second time, with Pillow's filters on floating-point numbers and without vitref's code."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.verify.vectors.reader import Array, Read, vectors


def read(pack: Path) -> list[Read]:
    return list(vectors(pack, lambda group: group["kind"] == "pixels"))


def resized(channel: Array, rows: int, columns: int, kind: str) -> Array:
    if kind != "bilinear_tf":
        image = Image.fromarray(channel.astype(np.float32))
        return np.asarray(image.resize((columns, rows), Image.Resampling[kind.upper()])).clip(0, 255)
    for new in (rows, columns):
        places = ((np.arange(new) + 0.5) * len(channel) / new - 0.5).clip(0, len(channel) - 1)
        lines = [np.interp(places, np.arange(len(channel)), line) for line in channel.T]
        channel = np.array(lines)
    return channel


def preprocessed(pictures: Array, recipe: dict[str, Any]) -> Array:
    (height, width), (rows, columns) = pictures.shape[1:3], recipe["resize_to"]
    if recipe["resize"] == "shortest" and rows == columns:
        edge, short = rows, min(height, width)
        rows, columns = edge * height // short, edge * width // short
    elif recipe["resize"] == "shortest":
        ratio = min(height / rows, width / columns)
        rows, columns = round(height / ratio), round(width / ratio)
    top, left = (round((a - b) / 2) for a, b in zip((rows, columns), recipe["size"], strict=True))
    planes = [
        [resized(picture[..., c], rows, columns, recipe["interpolation"]) for c in range(3)]
        for picture in pictures.astype(float)
    ]
    cut: Array = np.array(planes)[:, :, top : top + recipe["size"][0], left : left + recipe["size"][1]]
    mean, std = (np.reshape(recipe[name], (3, 1, 1)) for name in ("mean", "std"))
    return np.asarray((cut / 255 - mean) / std)


def test_second_implementation_passes(pack: Path) -> None:
    assert len(read(pack)) == 8
    for vector in read(pack):
        found = {"image": preprocessed(vector.inputs["picture"], vector.settings["preprocessing"])}
        assert vector.wrong(found) == [], vector.note


@pytest.mark.parametrize("mistake", ["bgr", "rescaled_twice", "imagenet_statistics"])
def test_planted_bug_fails_where_it_is_flagged(pack: Path, mistake: str) -> None:
    for vector in read(pack):
        picture, recipe = vector.inputs["picture"], dict(vector.settings["preprocessing"])
        if mistake == "bgr":
            picture = picture[..., ::-1]
        if mistake == "imagenet_statistics":
            recipe |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
        found = preprocessed(picture, recipe)
        if mistake == "rescaled_twice":
            mean, std = (np.reshape(recipe[name], (3, 1, 1)) for name in ("mean", "std"))
            found = ((found * std + mean) / 255 - mean) / std
        assert mistake in vector.flags
        assert vector.wrong({"image": found}) == ["image"]
