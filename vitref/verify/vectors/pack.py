"""Writing a pack: all groups, their files and the manifest, whole or not at all."""

import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitref.errors import CheckpointError
from vitref.testing.cases import SPECS
from vitref.verify.vectors import component, manifest, model, pixels, refusals
from vitref.verify.vectors.vector import FORMAT, Group
from vitref.weights.files import StrPath, path_text, save_tensors

MANIFEST = "manifest.json"

_NAME = FORMAT.rstrip("0123456789")


def groups() -> Iterator[Group]:
    """Every component of vitref, small whole models, what a model refuses, and preprocessing."""
    for name in SPECS:
        yield component.group(name)
    cases = model.cases()
    for name, case in cases.items():
        yield model.group(name, case)
    yield refusals.group(cases["tiny-test"])
    yield pixels.group()


def write(folder: StrPath, *, force: bool = False) -> dict[str, Any]:
    """Write the pack to a new folder; with `force` also in the place of an older pack.

    The same bytes at every call: inputs are the same on every machine, and what is computed from them on
    every machine with the same NumPy. Returns how much was written, as plain values. Raises CheckpointError
    when the folder exists and is neither empty nor, with `force`, a pack, or cannot be written.
    """
    target = Path(path_text(folder)).absolute()
    new = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        _require_free(target, force)
        new.mkdir()
        content = _fill(new)
        _put(new, target)
    except OSError as error:
        raise _refused(str(folder), f"that it cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return _summary(content, target)


def _fill(folder: Path) -> dict[str, Any]:
    """Write all files; returns the manifest."""
    entries = []
    for group in groups():
        tensors, entry = manifest.described(group)
        path = folder / group.file
        path.parent.mkdir(exist_ok=True)
        save_tensors(path, tensors, {"vectors": f"{FORMAT}: {group.name}"})
        data = path.read_bytes()
        entries.append({**entry, "sha256": manifest.digest(data), "bytes": len(data)})
    content = manifest.manifest(entries)
    (folder / MANIFEST).write_bytes(manifest.text(content).encode())
    return content


def _put(new: Path, target: Path) -> None:
    """Let `new` take the place of `target`, which is missing, empty, or an older pack."""
    if not target.exists() or not any(target.iterdir()):
        os.replace(new, target)
        return
    old = new.with_suffix(".old")
    os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _require_free(target: Path, force: bool) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise _refused(str(target), "what is not a folder")
    if not target.exists() or not any(target.iterdir()):
        return
    if not _is_pack(target):
        raise _refused(str(target), "a folder with other files in it")
    if not force:
        raise CheckpointError(
            str(target),
            found="a pack of vectors",
            expected="a folder that does not exist yet, or an empty one",
            remedy="Choose another folder, or replace this one with --force (force=True).",
        )


def _is_pack(folder: Path) -> bool:
    """Whether everything in the folder is of a pack, of this version or another."""
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        known = {MANIFEST, *(group["file"] for group in content["groups"])}
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
        return str(content["format"]).startswith(_NAME) and files <= known
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def _summary(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    found = content["groups"]
    return {
        "format": FORMAT,
        "folder": str(folder),
        "groups": dict(Counter(group["kind"] for group in found)),
        "vectors": dict(Counter(vector["result"] for group in found for vector in group["vectors"])),
        "mistakes": {"exposed": len(content["flags"]), "not exposed": content["unflagged"]},
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "sha256": manifest.digest((folder / MANIFEST).read_bytes()),
    }


def _refused(where: str, found: str) -> CheckpointError:
    return CheckpointError(
        where,
        found=found,
        expected="a folder that does not exist yet, in one that may be written to",
        remedy="Choose another folder.",
    )
