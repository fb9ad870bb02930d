"""What is captured comes back as it was, from memory and from a file that is whole or not there."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitref.errors import CheckpointError, ConfigError
from vitref.verify.capture.sink import FORMAT, finished, opened
from vitref.weights.files import read_metadata

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64]
SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)


def arrays(kinds: list[tuple[int, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        f"blocks.{i}:dy": rng.standard_normal(shape).astype(DTYPES[kind])
        for i, (kind, shape) in enumerate(kinds)
    }


@given(kinds=st.lists(st.tuples(st.integers(0, len(DTYPES) - 1), SHAPES), min_size=1, max_size=6))
def test_what_goes_in_comes_out(kinds: list[tuple[int, tuple[int, ...]]], tmp_path_factory: object) -> None:
    given_arrays = arrays(kinds)
    folder = tmp_path_factory.mktemp("sink")  # type: ignore[attr-defined]
    for out in (None, folder / "captured.safetensors"):
        with opened(out) as sink:
            for name, array in given_arrays.items():
                sink.put(name, array.T)
            found = finished(sink, out, {"source": "test"})
        assert list(found) == list(given_arrays)
        assert found.about == {"format": FORMAT, "source": "test"}
        for name, array in given_arrays.items():
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.T.shape
            assert found[name].tobytes() == array.T.tobytes()
            assert not found[name].flags.writeable


def test_a_copy_is_taken_at_once() -> None:
    array = np.ones(3)
    with opened(None) as sink:
        sink.put("norm", array)
        array[:] = 2
        assert finished(sink, None, {})["norm"].tolist() == [1, 1, 1]


def test_equal_captures_are_equal_files(tmp_path: Path) -> None:
    contents = []
    for place in ("a.safetensors", "b.safetensors"):
        with opened(tmp_path / place) as sink:
            sink.put("norm", np.arange(6.0).reshape(2, 3))
            sink.put("head", np.ones(2, ml_dtypes.bfloat16))
            finished(sink, tmp_path / place, {"source": "test"})
        contents.append((tmp_path / place).read_bytes())
    assert contents[0] == contents[1]
    assert '"order": ["norm", "head"]' in read_metadata(tmp_path / "a.safetensors")["capture"]


def test_nothing_is_left_after_a_failure(tmp_path: Path) -> None:
    out = tmp_path / "captured.safetensors"

    def fail() -> None:
        with opened(out) as sink:
            sink.put("norm", np.ones(3))
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_wrong_ending(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ending in \.safetensors"), opened(tmp_path / "trace.npz"):
        pass


def test_no_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="Create the folder"),
        opened(tmp_path / "none" / "captured.safetensors"),
    ):
        pass
