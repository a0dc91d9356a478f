"""The files of a model package, whatever it predicts from: read, and held against what its manifest says of them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError

from app.errors import PackageError

FORMAT = 1
PROFILE = "profile.json"
_Model = TypeVar("_Model", bound=BaseModel)


class FileFacts(BaseModel):
    """What a file of the package must be."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int


def digest(files: Mapping[str, FileFacts], more: str = "") -> str:
    """SHA-256 of the files' own, and of what else the answers depend on.

    Without the profile: what traffic is compared with changes no score, and must not empty every cache.
    """
    joined = "".join(f"{name}:{facts.sha256}\n" for name, facts in sorted(files.items()) if name != PROFILE)
    return hashlib.sha256((joined + more).encode()).hexdigest()


def read_json(model: type[_Model], path: Path, missing: str) -> _Model:
    """Read a JSON file into `model`. Raises PackageError, which begins with `missing` where there is no such file."""
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise PackageError(f"{missing}: {exc.strerror} ({path.name})") from exc
    except ValidationError as exc:
        raise PackageError(f"{path} is not a {path.stem} of format {FORMAT}: {faults(exc, 'file')}") from exc


def faults(exc: ValidationError, whole: str) -> str:
    """The first faults, each with its place, which is `whole` where no part of it is wrong."""
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or whole}: {fault['msg']}" for fault in exc.errors()[:3])


def check_files(folder: Path, files: Mapping[str, FileFacts], names: Sequence[str]) -> None:
    """Raise PackageError unless the manifest names these files, and they are the ones that were verified at export."""
    for name in names:
        if name not in files:
            raise PackageError(f"{folder / 'manifest.json'}: names no sha256 for {name}")
        check_file(folder / name, files[name])


def check_file(path: Path, facts: FileFacts) -> None:
    """Raise PackageError unless the file is the one that was verified at export."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise PackageError(f"{path}: {exc.strerror}") from exc
    if found != facts.sha256:
        raise PackageError(
            f"{path} was changed after its export: sha256 {found[:12]}, the manifest says {facts.sha256[:12]}"
        )
