"""A model package: the folder that `python -m model_export` writes, and what its manifest says.

The two sides share files, not code: this reads only what the service needs, and checks that the files are those that
were verified at export.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import PackageError

FORMAT = 1


class FileFacts(BaseModel):
    """What a file of the package must be."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int


class Golden(BaseModel):
    """A text and its scores by label as they were at export, on the machine of the export."""

    text: str
    scores: dict[str, float]


class Source(BaseModel):
    """Where the checkpoint came from."""

    model_config = ConfigDict(extra="allow")

    id: str
    revision: str | None = None


class Manifest(BaseModel):
    """`manifest.json`; facts that the service only passes on stay untyped."""

    model_config = ConfigDict(extra="allow", frozen=True)

    format: Literal[1]
    name: str
    source: Source
    activation: Literal["softmax", "sigmoid"]
    labels: list[str] = Field(min_length=2)
    """Label of each logit column."""
    max_tokens: int = Field(ge=3)
    inputs: list[str]
    files: dict[str, FileFacts]
    golden: list[Golden] = Field(min_length=1)
    quantisation: dict[str, Any] = {}
    accuracy: dict[str, Any] | None = None
    licence: str | None = None


class Package:
    """A checked package folder. `digest` names its content: equal digests give equal scores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder / "manifest.json")
        for name in ("model.onnx", "tokenizer.json"):
            if name not in self.manifest.files:
                raise PackageError(f"{folder / 'manifest.json'}: names no sha256 for {name}")
            _check_file(folder / name, self.manifest.files[name])
        joined = "".join(f"{name}:{facts.sha256}\n" for name, facts in sorted(self.manifest.files.items()))
        self.digest = hashlib.sha256(joined.encode()).hexdigest()

    @property
    def model_path(self) -> Path:
        """The ONNX graph."""
        return self.folder / "model.onnx"

    @property
    def tokenizer_path(self) -> Path:
        """The fast tokenizer."""
        return self.folder / "tokenizer.json"


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise PackageError(f"no model package at {path.parent}: {exc.strerror} ({path.name})") from exc
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in exc.errors()[:3])
        raise PackageError(f"{path} is not a manifest of format {FORMAT}: {faults}") from exc


def _check_file(path: Path, facts: FileFacts) -> None:
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
