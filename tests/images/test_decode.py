"""Files and Pillow images: which are read, how each kind is converted, and what is refused."""

import contextlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitref.errors import ImageError
from vitref.images.decode import DEEP, FORMATS, MODES, from_file, from_image

LOSSLESS = {"BMP": {}, "PNG": {}, "PPM": {}, "TIFF": {}, "WEBP": {"lossless": True}}
ORIENT: dict[int, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
"""EXIF orientation: what turns the stored rows and columns upright (EXIF 2.32, tag 0x0112)."""


def pixels(image: Image.Image) -> list[Any]:
    values: list[Any] = np.asarray(image).tolist()
    return values


def png(depth: int, colour: int, samples: bytes, *, size: tuple[int, int] = (1, 1)) -> bytes:
    """A PNG file of one row per line of `samples`, written by hand: Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + samples)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_come_back_as_they_were(kind: str, photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "photo", kind, **LOSSLESS[kind])
    read = from_file(tmp_path / "photo", 3)
    assert read.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(read), np.asarray(photo))


@pytest.mark.parametrize("kind", sorted(set(FORMATS) - set(LOSSLESS)))
def test_other_files_are_read(kind: str, tmp_path: Path) -> None:
    Image.new("RGB", (16, 8), (255, 255, 255)).save(tmp_path / "white", kind)
    assert (np.asarray(from_file(tmp_path / "white", 3)) >= 254).all()


@pytest.mark.parametrize("orientation", ORIENT)
@pytest.mark.parametrize("opened", [False, True], ids=["path", "opened"])
def test_exif_orientation_is_applied(
    orientation: int, opened: bool, photo: Image.Image, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.save(tmp_path / "turned.png", exif=exif)
    expected = ORIENT[orientation](np.asarray(photo))
    if opened:
        with Image.open(tmp_path / "turned.png") as image:
            upright = from_image(image, "image", 3)
    else:
        upright = from_file(tmp_path / "turned.png", 3)
    np.testing.assert_array_equal(np.asarray(upright), expected)


def test_grey_is_replicated() -> None:
    grey = Image.fromarray(np.array([[0, 77, 255]], np.uint8))
    assert pixels(from_image(grey, "image", 3)) == [[[0, 0, 0], [77, 77, 77], [255, 255, 255]]]


def test_grey_stays_grey() -> None:
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    one = from_image(grey, "image", 1)
    assert one.mode == "L"
    assert pixels(one) == pixels(grey)


def test_colour_becomes_luminance_of_bt_601() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]], np.uint8)
    # 76.245, 149.685, 29.07 and 2.99 + 11.74 + 3.42 = 18.15
    assert pixels(from_image(Image.fromarray(colours), "image", 1)) == [[76, 150, 29, 18]]


def test_one_bit_becomes_black_and_white() -> None:
    bits = Image.fromarray(np.array([[True, False]]))
    assert bits.mode == "1"
    assert pixels(from_image(bits, "image", 3)) == [[[255] * 3, [0] * 3]]


def test_alpha_is_dropped_not_composited() -> None:
    rgba = Image.fromarray(np.array([[[10, 20, 30, 0], [40, 50, 60, 128]]], np.uint8))
    assert pixels(from_image(rgba, "image", 3)) == [[[10, 20, 30], [40, 50, 60]]]
    grey = Image.merge("LA", (Image.new("L", (1, 1), 9), Image.new("L", (1, 1), 0)))
    assert pixels(from_image(grey, "image", 3)) == [[[9, 9, 9]]]


@pytest.mark.parametrize("transparency", [None, 1, b"\xff\x00"])
def test_palette_is_looked_up(transparency: int | bytes | None, tmp_path: Path) -> None:
    indexed = Image.new("P", (2, 1))
    indexed.putpalette([1, 2, 3, 200, 100, 50])
    indexed.putpixel((1, 0), 1)
    given: dict[str, Any] = {} if transparency is None else {"transparency": transparency}
    indexed.save(tmp_path / "palette.png", **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(from_file(tmp_path / "palette.png", 3)) == [[[1, 2, 3], [200, 100, 50]]]


def test_cmyk_is_converted() -> None:
    cmyk = Image.new("CMYK", (1, 1), (0, 255, 0, 51))
    assert pixels(from_image(cmyk, "image", 3)) == [[[204, 0, 204]]]  # 255 - 51


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_every_listed_mode_is_converted(mode: str, channels: int) -> None:
    one = from_image(Image.new(mode, (3, 2)), "image", channels)
    assert (one.mode, one.size) == ("L" if channels == 1 else "RGB", (3, 2))


@pytest.mark.parametrize("mode", ["I", "F", "La", "RGBa", "LAB"])
def test_other_modes_are_refused(mode: str) -> None:
    with pytest.raises(ImageError, match=r"found Pillow mode .*one of the modes 1, L, LA") as caught:
        from_image(Image.new(mode, (3, 2)), "image[4]", 3)
    assert caught.value.where == "image[4]"


GREYS = [0, 128, 129, 257, 385, 386, 32767, 65406, 65407, 65535]
ROUNDED = [0, 0, 1, 1, 1, 2, 127, 254, 255, 255]  # 128.5, 385.5, 32767.5 = 127.5 * 257 and 65406.5 divide


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey_is_rounded_to_8(order: str) -> None:
    grey = Image.fromarray(np.array([GREYS], f"{order}u2"))
    assert grey.mode in DEEP
    assert pixels(from_image(grey, "image", 1)) == [ROUNDED]
    assert pixels(from_image(grey, "image", 3)) == [[[value] * 3 for value in ROUNDED]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_16_bit_grey_files_are_read(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    given: dict[str, Any] = {} if kind == "PPM" else {"exif": exif}
    Image.fromarray(np.array([GREYS], np.uint16)).save(tmp_path / "deep", kind, **given)
    upright = ORIENT[1 if kind == "PPM" else orientation](np.array([ROUNDED]))
    assert pixels(from_file(tmp_path / "deep", 1)) == upright.tolist()


def tiff(samples: bytes, *, bits: int, photometric: int, per_pixel: int = 1) -> bytes:
    """A TIFF file of one pixel, written by hand: Pillow writes neither 16-bit colour nor white as 0."""
    strip = 8 + 2 + 9 * 12 + 4
    short, long = 3, 4
    tags = [
        (256, short, 1, 1),
        (257, short, 1, 1),
        (258, short, 1, bits),
        (259, short, 1, 1),
        (262, short, 1, photometric),
        (273, long, 1, strip),
        (277, short, 1, per_pixel),
        (278, short, 1, 1),
        (279, long, 1, len(samples)),
    ]
    if per_pixel == 3:  # the three depths do not fit into the tag and stand behind the samples
        tags[2] = (258, short, 3, strip + len(samples))
    entries = b"".join(struct.pack("<HHLL", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0\x09\0" + entries + bytes(4) + samples + struct.pack("<3H", *[bits] * 3)


def test_tiff_written_by_hand_is_read(tmp_path: Path) -> None:
    for name, samples, expected in (("deep", 16, 2), ("flat", 8, 200)):
        data = struct.pack("<H", 514) if samples == 16 else b"\xc8"
        (tmp_path / name).write_bytes(tiff(data, bits=samples, photometric=1))
        assert pixels(from_file(tmp_path / name, 1)) == [[expected]]


@pytest.mark.parametrize(
    ("data", "coding"),
    [
        (png(16, 2, bytes(6)), "RGB;16B"),
        (png(16, 4, bytes(4)), "LA;16B"),
        (png(16, 6, bytes(8)), "RGBA;16B"),
        (tiff(bytes(6), bits=16, photometric=2, per_pixel=3), "RGB;16L"),
        (tiff(bytes(2), bits=16, photometric=0), "16 bits in which 0 is white"),
        (tiff(bytes(2), bits=12, photometric=1), "I;12"),
    ],
)
def test_16_bits_of_which_pillow_drops_or_turns_any_are_refused(
    data: bytes, coding: str, tmp_path: Path
) -> None:
    (tmp_path / "deep").write_bytes(data)
    with pytest.raises(ImageError, match="samples coded as .*grey of 16 bits in which 0 is black") as caught:
        from_file(tmp_path / "deep", 3)
    assert coding in caught.value.found


@pytest.mark.parametrize("depth", [8, 16])
def test_png_written_by_hand_is_read(depth: int, tmp_path: Path) -> None:
    for colour, samples in (0, 1), (2, 3), (4, 2), (6, 4):
        if depth == 8 or colour == 0:
            (tmp_path / "hand.png").write_bytes(png(depth, colour, bytes(samples * depth // 8)))
            assert pixels(from_file(tmp_path / "hand.png", 1)) == [[0]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P6 1 1 65535\n" + struct.pack(">3H", 128, 129, 65535), [0, 1, 255]),
        (b"P6 1 1 1000\n" + struct.pack(">3H", 0, 2, 1000), [0, 1, 255]),  # 0.51
        (b"P3 1 1 1000\n0 1 998", [0, 0, 254]),  # 0.255 and 254.49
        (b"P5 1 1 65535\n" + struct.pack(">H", 65407), [255] * 3),
        (b"P5 1 1 1000\n" + struct.pack(">H", 500), [128] * 3),  # 32768 of 65535
        (b"P2 1 1 65535\n129", [1] * 3),
    ],
)
def test_pnm_of_any_depth_is_scaled(data: bytes, expected: list[int], tmp_path: Path) -> None:
    (tmp_path / "deep.pnm").write_bytes(data)
    assert pixels(from_file(tmp_path / "deep.pnm", 3)) == [[expected]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P1 2 1\n1 0\n", [[0, 255]]),
        (b"P2 2 1 255\n7 8\n", [[7, 8]]),
        (b"P4 2 1\n\x80", [[0, 255]]),
        (b"P5 2 1 255\n\x07\x08", [[7, 8]]),
    ],
)
def test_plain_and_binary_pnm_are_read(data: bytes, expected: list[list[int]], tmp_path: Path) -> None:
    (tmp_path / "small.pnm").write_bytes(data)
    assert pixels(from_file(tmp_path / "small.pnm", 1)) == expected


def test_first_picture_of_an_mpo_is_read(photo: Image.Image, tmp_path: Path) -> None:
    second = Image.new("RGB", photo.size)
    photo.save(tmp_path / "camera.jpg", "MPO", save_all=True, append_images=[second], quality=100)
    photo.save(tmp_path / "single.jpg", "JPEG", quality=100)
    with Image.open(tmp_path / "camera.jpg") as image:
        assert (image.format, getattr(image, "n_frames", 1)) == ("MPO", 2)
    assert pixels(from_file(tmp_path / "camera.jpg", 3)) == pixels(from_file(tmp_path / "single.jpg", 3))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_several_frames_are_refused(kind: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (10, 120, 250)]
    frames[0].save(tmp_path / "film", kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"film: found 3 frames; expected a single picture\. Choose one"):
        from_file(tmp_path / "film", 3)
    with Image.open(tmp_path / "film") as image:
        image.seek(1)
        assert from_image(image.copy(), "image", 3).size == (4, 4)


def test_image_and_file_are_not_changed(photo: Image.Image) -> None:
    before = photo.tobytes()
    from_image(photo, "image", 1)
    assert photo.tobytes() == before
    assert from_image(photo, "image", 3) is not photo


def test_pillows_warnings_are_not_passed_on(photo: Image.Image, tmp_path: Path) -> None:
    broken = b"Exif\0\0II*\0\x08\0\0\0\x05\0"  # announces five entries and has none
    photo.save(tmp_path / "photo.jpg", exif=broken)
    with pytest.warns(UserWarning, match="EXIF"), Image.open(tmp_path / "photo.jpg") as image:
        image.getexif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_file(tmp_path / "photo.jpg", 3).size == photo.size


def test_size_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="found 5 by 0 pixels"):
        from_image(Image.new("RGB", (0, 5)), "image", 3)


def refused(path: Path) -> ImageError:
    """The error for `path`: it names the file, and no warning accompanies it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as caught:
            from_file(path, 3)
    assert caught.value.where == str(path)
    assert caught.value.remedy.endswith(".")
    return caught.value


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "no.png").found
    assert refused(tmp_path).found == "a folder"
    assert "Not a directory" in refused(Path(__file__) / "inside.png").found
    assert "null" in refused(tmp_path / "a\0b.png").found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused(tmp_path / "pipe").found


def test_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked.png").write_bytes(b"x")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "Permission denied" in refused(tmp_path / "locked.png").found


@pytest.mark.parametrize(
    "data", [b"\0", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xff\xd8"]
)
def test_what_is_no_image_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    assert "none of the supported formats" in refused(tmp_path / "file").found


def test_other_formats_are_refused_as_files_and_taken_as_opened_images(
    photo: Image.Image, tmp_path: Path
) -> None:
    photo.save(tmp_path / "photo.tga")
    assert "open it with Pillow and pass the image" in refused(tmp_path / "photo.tga").remedy
    with Image.open(tmp_path / "photo.tga") as image:
        assert pixels(from_image(image, "image", 3)) == pixels(photo)


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert refused(tmp_path / "empty.jpg").found == "an empty file"


@pytest.mark.parametrize("kind", FORMATS)
def test_every_truncation_is_refused_or_complete(kind: str, tmp_path: Path) -> None:
    """Cut at any byte, a file is refused, or (cut in its padding or trailer) read as if it were whole."""
    noise = np.random.default_rng(2).integers(0, 256, (24, 24), dtype=np.uint8)
    whole, data = tmp_path / "whole", io.BytesIO()
    Image.fromarray(noise).save(data, kind)
    whole.write_bytes(data.getvalue())
    expected = np.asarray(from_file(whole, 3))
    cut, refusals = tmp_path / "cut", 0
    for length in range(0, len(data.getvalue()), 7):
        cut.write_bytes(data.getvalue()[:length])
        try:
            read = from_file(cut, 3)
        except ImageError:
            refusals += 1
        else:
            np.testing.assert_array_equal(np.asarray(read), expected)
    assert refusals >= 0.9 * len(data.getvalue()) / 7 - 1


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_bytes_raise_nothing_else(kind: str, photo: Image.Image, tmp_path: Path) -> None:
    data, random = io.BytesIO(), np.random.default_rng(5)
    photo.save(data, kind)
    for _ in range(60):
        damaged = bytearray(data.getvalue())
        for place in random.integers(0, len(damaged), 4):
            damaged[place] = random.integers(0, 256)
        (tmp_path / "damaged").write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with contextlib.suppress(ImageError):
                from_file(tmp_path / "damaged", 3)


def test_closed_image_is_refused(photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "photo.png")
    with Image.open(tmp_path / "photo.png") as image:
        pass
    with pytest.raises(ImageError, match="image: found an image that cannot be read"):
        from_image(image, "image", 3)


@pytest.mark.parametrize("limit", [161, 80], ids=["warning", "error"])
def test_decompression_bomb_is_refused(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns above its limit and raises above twice the limit."""
    Image.new("RGB", (18, 9)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 162)
    assert from_file(tmp_path / "bomb.png", 3).size == (18, 9)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    error = refused(tmp_path / "bomb.png")
    assert error.found == f"more than {limit} pixels"
    assert "MAX_IMAGE_PIXELS" in error.remedy


def test_decoding_in_threads_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(path)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: from_file(path, 3), range(200)))
    assert list(warnings.filters) == before
