"""Files that are not a checkpoint we read, told apart by kind, name and first bytes, each with its remedy.

The bytes are looked at, never interpreted: a pickle can run any code when it is opened.
"""

import errno
import os
import shlex
import stat

from vitref.errors import CheckpointError

_PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")
_OTHER_SUFFIXES = {
    ".npz": "a NumPy archive",
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
    if suffix in _OTHER_SUFFIXES:
        raise _refused(
            name,
            _OTHER_SUFFIXES[suffix],
            "This version reads safetensors only; convert the checkpoint first.",
        )
    if suffix in _PICKLE_SUFFIXES or head.startswith(b"PK\x03\x04") or _is_pickle(head):
        raise _refused(
            name,
            "a PyTorch or pickle file, left unread because opening one can run any code",
            f"Convert it once, where torch and safetensors are installed, with: {conversion(name)}",
        )


def conversion(name: str) -> str:
    """A shell command that turns a PyTorch checkpoint into safetensors without running code from it."""
    target = os.path.splitext(name)[0] + ".safetensors"
    program = (
        "import torch; from safetensors.torch import save_file; "
        f"d = torch.load({name!r}, map_location='cpu', weights_only=True); "
        "d = d.get('model', d.get('state_dict', d)); "
        "save_file({k: v.clone().contiguous() for k, v in d.items() if torch.is_tensor(v)}, "
        f"{target!r})"
    )
    return f"python -c {shlex.quote(program)}"


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
    starts_a_header = head[8:9] == b"{"
    return len(head) > 1 and head[0] == 0x80 and 1 <= head[1] <= 5 and not starts_a_header


def _refused(name: str, found: str, remedy: str) -> CheckpointError:
    return CheckpointError(name, found=found, expected="a safetensors file", remedy=remedy)
