"""A package is never half-written: it is made beside its place, forced to disk, and renamed into it."""

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
WEIGHTS, PROFILE = "weights.safetensors", "profile.json"
OPTIONAL_FILES = (WEIGHTS, PROFILE)
"""Listed where they exist."""


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

    Files of an older package that are not its own, such as a model card, are kept. Readers see the old package, none
    for the instant of `replace`, or the new one, never a mixture.
    """
    if output.exists():
        _keep_other_files(output, package)
    for path in package.rglob("*"):
        _flush(path)
    _flush(package)
    if output.exists():
        replace(output, package)
    else:
        package.rename(output)
    _flush(output.parent)


def replace(old: Path, new: Path) -> None:
    """Put the folder `new` in the place of `old`, and what was there beside `new` as `replaced`.

    In two renames, since none goes over a folder that is not empty: between them there is nothing at `old`, and who is
    killed there finds the old folder, whole, as `replaced`. Whatever else goes wrong puts it back and is raised.
    """
    aside = new.with_name("replaced")
    try:
        old.rename(aside)
        new.rename(old)
    except BaseException:  # Ctrl-C, too: `staging` would remove what was put aside
        if aside.exists() and not old.exists():
            aside.rename(old)
        raise


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
        if path.name in {*FILES, *OPTIONAL_FILES, MANIFEST}:
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
