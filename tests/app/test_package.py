"""A package that is not what was verified at export must not be served."""

import json
import shutil
from pathlib import Path

import pytest

from app.errors import PackageError
from app.package import Package
from app.settings import BUNDLED_MODEL


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the bundled package that a test may spoil."""
    return Path(shutil.copytree(BUNDLED_MODEL, tmp_path / "package"))


def edit(folder: Path, **changes: object) -> None:
    """Change keys of the manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_bundled_package_is_sound() -> None:
    """It names two labels, its files are unchanged, and its digest is one of SHA-256."""
    package = Package(BUNDLED_MODEL)
    assert package.manifest.labels == ["NEGATIVE", "POSITIVE"]
    assert len(package.digest) == 64


def test_digest_follows_the_content(copy: Path) -> None:
    """Another name is the same model; another file is not."""
    same = Package(BUNDLED_MODEL).digest
    edit(copy, name="other")
    assert Package(copy).digest == same
    (copy / "tokenizer.json").write_text("{}")
    files = json.loads((copy / "manifest.json").read_text())["files"]
    files["tokenizer.json"]["sha256"] = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    edit(copy, files=files)
    assert Package(copy).digest != same


def test_missing_folder_is_named(tmp_path: Path) -> None:
    """The message says where it looked."""
    with pytest.raises(PackageError, match=f"no model package at {tmp_path / 'none'}"):
        Package(tmp_path / "none")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_changed_file_is_refused(copy: Path, name: str) -> None:
    """One byte more is enough."""
    with (copy / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(PackageError, match=rf"{name} was changed after its export"):
        Package(copy)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_missing_file_is_named(copy: Path, name: str) -> None:
    """An incomplete package does not start."""
    (copy / name).unlink()
    with pytest.raises(PackageError, match=f"{name}: No such file"):
        Package(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format: Input should be 1"),
        ({"labels": ["ONLY"]}, "labels: List should have at least 2"),
        ({"golden": []}, "golden: List should have at least 1"),
        ({"activation": "tanh"}, "activation: Input should be 'softmax' or 'sigmoid'"),
        ({"files": {}}, "names no sha256 for model.onnx"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_manifest_is_refused(copy: Path, changes: dict[str, object], message: str) -> None:
    """The message names the key and what it should be."""
    edit(copy, **changes)
    with pytest.raises(PackageError, match=message):
        Package(copy)


def test_broken_manifest_is_refused(copy: Path) -> None:
    """Half a file is no manifest."""
    (copy / "manifest.json").write_text('{"format": 1,')
    with pytest.raises(PackageError, match="is not a manifest of format 1: file: Invalid JSON"):
        Package(copy)
