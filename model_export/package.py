"""A package is never half-written: it is made beside its place, forced to disk, and renamed into it."""

import ctypes
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model_export.errors import ExportError

MODEL, TOKENIZER, CONFIG, MANIFEST = "model.onnx", "tokenizer.json", "config.json", "manifest.json"
FILES = (MODEL, TOKENIZER, CONFIG)
"""The files that every manifest lists with their digests."""
PROFILE = "profile.json"
"""Listed where it exists."""

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""Flag of renameat2(2): swap two names in one step."""


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """Yield a fresh folder beside `output`, and remove it however the block ends.

    Raises ExportError at once when `output` can't be written or holds anything but nothing or an older package.
    """
    _check_replaceable(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".tmp", dir=output.parent))
    except OSError as exc:
        raise ExportError(f"cannot write to {output.parent}: {exc.strerror}") from exc
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def publish(package: Path, output: Path) -> None:
    """Move a finished package, which lies on the same file system, to `output`.

    Files of an older package that are not its own, such as a model card, are kept. Readers see the old package or the
    new one, never a mixture.
    """
    if output.exists():
        _keep_other_files(output, package)
    for path in package.rglob("*"):
        _flush(path)
    _flush(package)
    if output.exists():
        _exchange(package, output)
    else:
        package.rename(output)
    _flush(output.parent)


def write_json(path: Path, fields: dict[str, Any]) -> None:
    """Write for people and diffs: indented, in UTF-8, the keys in the order in which they were given."""
    text = json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def fingerprint(path: Path) -> dict[str, str | int]:
    """What the manifest says of a file."""
    return {"sha256": digest(path), "bytes": path.stat().st_size}


def digest(path: Path) -> str:
    """SHA-256 of a file in hex, read in pieces: weights may be larger than the memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep_other_files(old: Path, new: Path) -> None:
    for path in old.iterdir():
        if path.name in {*FILES, PROFILE, MANIFEST}:
            continue
        if path.is_dir():
            shutil.copytree(path, new / path.name)
        else:
            shutil.copy2(path, new / path.name)


def _check_replaceable(output: Path) -> None:
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise ExportError(f"{output} exists and is not a folder")
    try:
        names = {path.name for path in output.iterdir()} if output.exists() else set()
    except OSError as exc:
        raise ExportError(f"cannot read {output}: {exc.strerror}") from exc
    if names and not _is_package(output):
        raise ExportError(f"{output} is not empty and not a model package; name another folder")


def _is_package(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and "format" in manifest and "files" in manifest


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders. rename(2) replaces empty folders only; Linux's renameat2(2) swaps any two names in one step."""
    libc = ctypes.CDLL(None)
    swap = getattr(libc, "renameat2", None)
    names = os.fsencode(new), os.fsencode(old)
    if swap is not None and swap(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return
    replace_in_two_steps(new, old)


def replace_in_two_steps(new: Path, old: Path) -> None:
    """For file systems that can't swap: between the two renames there is no package, but never half of one."""
    aside = new.with_name("replaced")
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise
