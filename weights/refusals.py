"""Files that are not a checkpoint we read, told apart by kind, name and first bytes, each with its remedy.

The bytes are looked at, never interpreted: a pickle can run any code when it is opened.
"""

import errno
import os
import shlex
import stat
from collections.abc import Mapping

from vitref.errors import CheckpointError

PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")
_PICTURES = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG\r\n\x1a\n": "a PNG picture",
    b"GIF87a": "a GIF picture",
    b"GIF89a": "a GIF picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"BM": "a BMP picture",
}
_OTHER_STARTS = {
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"GGUF": "a GGUF file",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a file compressed by gzip",
    b"7z\xbc\xaf'\x1c": "a 7z archive",
}
_OTHER_SUFFIXES = {
    ".npy": "a NumPy array",
    ".h5": "an HDF5 file",
    ".onnx": "an ONNX graph",
    ".gguf": "a GGUF file",
    ".msgpack": "a Flax msgpack file",
}


def check(name: str, head: bytes) -> None:
    """Raise CheckpointError, with what to do, when the file called `name` is plainly not safetensors.

    head  its first bytes (512 are enough)
    """
    suffix = os.path.splitext(name)[1].lower()
    start = head.lstrip().lower()
    if not head:
        raise _refused(name, "an empty file", "Fetch the file again; the download did not finish.")
    if start.startswith(b"version https://git-lfs"):
        raise _refused(
            name, "a Git LFS pointer, not the weights", "Fetch the weights themselves with: git lfs pull"
        )
    if start.startswith((b"<!doctype", b"<html")):
        raise _refused(name, "a web page saved as a file", "Download the file itself, not the page about it.")
    picture = _known(head, _PICTURES) or ("a WebP picture" if head[:4] + head[8:12] == b"RIFFWEBP" else "")
    if picture:
        raise _refused(name, picture, "Give a checkpoint here: the weights come first, the picture second.")
    other = _known(head, _OTHER_STARTS) or _OTHER_SUFFIXES.get(suffix)
    if other:
        raise _refused(
            name, other, "This version reads safetensors and .npz only; convert the checkpoint first."
        )
    if suffix in PICKLE_SUFFIXES or head.startswith(b"PK\x03\x04") or _is_pickle(head):
        raise _refused(
            name,
            "a PyTorch or pickle file, left unread because opening one can run any code",
            f"Convert it once, where torch and safetensors are installed, with: {conversion(name)}",
        )
    if text := _text(head):
        raise _refused(name, f"text that begins {text!r}", "Give the file of the weights themselves.")


def conversion(name: str) -> str:
    """A shell command that turns a PyTorch checkpoint into another file, safetensors, without running code
    from it."""
    stem, suffix = os.path.splitext(name)
    target = f"{stem}{'.converted' if suffix == '.safetensors' else ''}.safetensors"
    program = (
        "import torch; from safetensors.torch import save_file; "
        f"d = torch.load({name!r}, map_location='cpu', weights_only=True); "
        "d = d.get('model', d.get('state_dict', d)); "
        "save_file({k: v.clone().contiguous() for k, v in d.items() if torch.is_tensor(v)}, "
        f"{target!r})"
    )
    plain = program.isprintable() and not set('"$`\\!') & set(program)
    return f'python -c "{program}"' if plain else f"python -c {shlex.quote(program)}"


def check_kind(name: str, mode: int) -> None:
    """Raise CheckpointError unless `mode` (of os.stat) is that of a regular file."""
    if stat.S_ISDIR(mode):
        raise _refused(name, "a folder", "Give a file.")
    if not stat.S_ISREG(mode):
        raise _refused(name, "a device, pipe or socket", "Give a file.")


def unreadable(name: str, error: OSError) -> CheckpointError:
    """The error for a path that the system would not open."""
    number = error.errno
    if number == errno.ENOENT and os.path.islink(name):
        found, remedy = "a link to a file that does not exist", "Repair the link, or give the file itself."
    elif number in (errno.ENOENT, errno.ENOTDIR):
        found, remedy = "no file of this name", "Correct the path."
    elif number == errno.ELOOP:
        found, remedy = "a link that leads back to itself", "Repair the link, or give the file itself."
    elif number in (errno.EACCES, errno.EPERM):
        found, remedy = "a file that this user may not read", "Change its permissions, or copy it."
    else:
        found = f"a path that cannot be opened ({error.strerror or error})"
        remedy = "Correct the path."
    return CheckpointError(name, found=found, expected="a file that can be read", remedy=remedy)


def _is_pickle(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0x80 and 1 <= head[1] <= 5 and not _starts_a_header(head)


def _known(head: bytes, starts: Mapping[bytes, str]) -> str:
    """What begins so; empty for what is not known, or begins as safetensors do."""
    found = (what for start, what in starts.items() if head.startswith(start))
    return "" if _starts_a_header(head) else next(found, "")


def _starts_a_header(head: bytes) -> bool:
    """Whether the ninth byte is that of a safetensors header, whose length stands before it."""
    return head[8:9] == b"{"


def _text(head: bytes) -> str:
    """The first words, when all of it is text; a safetensors file is none, as its length has zero bytes."""
    text = head.decode("utf-8", "ignore")
    is_text = len(head) - len(text.encode()) < 4 and all(c.isprintable() or c in "\t\r\n" for c in text)
    return " ".join(text.split())[:40] if is_text else ""


def _refused(name: str, found: str, remedy: str) -> CheckpointError:
    return CheckpointError(name, found=found, expected="a safetensors file or NumPy archive", remedy=remedy)
