"""Damaged safetensors files: each is a CheckpointError, and none is read as something else."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitref.errors import CheckpointError
from vitref.weights import header

DATA = bytes(range(1, 33))


def content(entries: Any, data: bytes = DATA) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(**changed: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32], **changed}


def test_reads_names_shapes_and_metadata() -> None:
    half = entry(shape=[4], data_offsets=[0, 16])
    entries = {"__metadata__": {"k": "v"}, "b": entry(shape=[4], data_offsets=[16, 32]), "a": half}
    found, metadata, start = header.parse(content(entries), "f")
    assert [(e.name, e.dtype, e.shape, e.begin, e.end) for e in found] == [
        ("b", "F32", (4,), 16, 32),
        ("a", "F32", (4,), 0, 16),
    ]
    assert metadata == {"k": "v"}
    assert content(entries)[start:] == DATA


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "0 bytes"),
        (b"1234567", "7 bytes"),
        ((10**9).to_bytes(8, "little") + b"{}", "not a safetensors file"),
        ((200).to_bytes(8, "little") + b"{}", "at least 208"),
        (content(b"{"), "no JSON"),
        (content(b'{"\xff\xfe":0}'), "no JSON"),
        (content(b"[]"), "a start of b'[]'"),
        (content(b""), "a start of b''"),
        (content(b'{"a":1' + b"1" * 6000 + b"}"), "no JSON"),
        (content(b'{"a":' * 100_000), "no JSON"),
        (content(b'{"a":1,"a":2}'), "the name 'a' twice"),
        (content(b'{"a":{"dtype":"F32","shape":[8],"shape":[8],"data_offsets":[0,32]}}'), "'shape' twice"),
        (content({"a": 3}), "the entry 3"),
        (content({"a": entry(extra=1)}), "the entry"),
        (content({"a": entry(dtype="F128")}), "the dtype 'F128'"),
        (content({"a": entry(dtype=["F32"])}), "the dtype"),
        (content({"a": entry(shape=[1] * 9 + [8])}), "at most 8"),
        (content({"a": entry(shape=[-2, -4])}), "the shape [-2, -4]"),
        (content({"a": entry(shape=[2.0, 4])}), "the shape"),
        (content({"a": entry(shape=[True, 8])}), "the shape"),
        (content({"a": entry(shape=8)}), "the shape"),
        (content({"a": entry(shape=[0, 2**40, 2**40], data_offsets=[0, 0])}), "fits in memory"),
        (content({"a": entry(data_offsets=[0])}), "data_offsets"),
        (content({"a": entry(data_offsets=[32, 0])}), "32 bytes, for F32"),
        (content({"a": entry(shape=[3, 4])}), "48 bytes, for F32 (3, 4)"),
        (content({"a": entry(data_offsets=[4, 36])}), "a gap before byte 4"),
        (content({"a": entry(), "b": entry()}), "an overlap at byte 0"),
        (content({"a": entry()}, DATA + b"x"), "33 bytes of data"),
        (content({"a": entry()}, DATA[:-1]), "31 bytes of data"),
        (content({"__metadata__": {"a": 1}}, b""), "not text"),
        (content({"__metadata__": "a"}, b""), "not text"),
        (content(b'{"\\ud800":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}'), "'\\ud800'"),
    ],
)
def test_refuses(file: bytes, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        header.parse(file, "model.safetensors")
    assert message in str(caught.value)
    assert caught.value.where.startswith("model.safetensors")
    str(caught.value).encode()


SOUND = content(
    {"one": entry(shape=[2, 2], data_offsets=[0, 16]), "two": entry(shape=[4], data_offsets=[16, 32])}
)
BODY = len(SOUND) - len(DATA)

edits = st.lists(
    st.tuples(st.sampled_from(["set", "cut", "insert"]), st.integers(0, len(SOUND) - 1), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


@given(edits)
def test_a_mutated_file_is_refused_or_says_the_same_of_every_tensor_it_names(
    edits: list[tuple[str, int, int]],
) -> None:
    mutated = bytearray(SOUND)
    for kind, position, byte in edits:
        at = position % max(len(mutated), 1)
        if kind == "set":
            mutated[at : at + 1] = bytes([byte])
        elif kind == "cut":
            del mutated[at : at + 1 + byte % 8]
        else:
            mutated[at:at] = bytes([byte])
    try:
        found, _, start = header.parse(bytes(mutated), "f")
    except CheckpointError as error:
        str(error).encode()
        return
    covered = sorted((e.begin, e.end) for e in found)
    assert sum(end - begin for begin, end in covered) == len(mutated) - start
    for e in found:
        assert e.end - e.begin == np.prod(e.shape, dtype=int) * header.DTYPES[e.dtype].itemsize
        assert start + e.end <= len(mutated)
    declared = json.loads(bytes(mutated[8:start]))
    assert {e.name for e in found} == set(declared) - {"__metadata__"}


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    try:
        found, _, _ = header.parse(noise, "f")
    except CheckpointError:
        return
    assert not found
