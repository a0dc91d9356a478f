"""A package that is not what was verified at export must not be served."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from app.errors import PackageError
from app.model.package import Package
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


def test_digest_follows_the_windows(copy: Path) -> None:
    """They stand in no file but the manifest, and change the scores of long texts: none may come from a cache."""
    digests = set()
    for windows in (None, 64), (128, 0), (128, 32):
        edit(copy, window_tokens=windows[0], window_overlap=windows[1] if windows[0] else 0)
        digests.add(Package(copy).digest)
    edit(copy, max_windows=3)
    assert len(digests | {Package(copy).digest}) == 4


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"window_tokens": 513, "window_overlap": 0}, "window_tokens 513 exceeds max_tokens 512"),
        ({"window_tokens": 64, "window_overlap": 33}, "window_overlap 33 exceeds half of window_tokens 64"),
        ({"window_tokens": None, "window_overlap": 1}, "window_overlap 1 exceeds half of window_tokens None"),
        ({"window_tokens": 8, "window_overlap": 0}, "window_tokens: Input should be greater than or equal to 16"),
        ({"max_windows": 65}, "max_windows: Input should be less than or equal to 64"),
    ],
)
def test_windows_that_cannot_be_are_refused(copy: Path, fields: dict[str, int | None], fault: str) -> None:
    """The message names the value and its bound."""
    edit(copy, **fields)
    with pytest.raises(PackageError, match=fault):
        Package(copy)


def give_profile(folder: Path, **changes: object) -> None:
    """Replace the package's profile by one of four texts, and list it in the manifest as an export does."""
    features = {"label": {"edges": [0], "counts": [1, 3]}, "tokens": {"edges": [4, 8], "counts": [0, 3, 1]}}
    content = json.dumps({"format": 1, "data": "mine.tsv", "texts": 4, "features": features} | changes).encode()
    (folder / "profile.json").write_bytes(content)
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit(folder, files=json.loads((folder / "manifest.json").read_text())["files"] | {"profile.json": facts})


def test_bundled_package_has_a_profile() -> None:
    """Of enough texts to compare with, all four features, and its file listed."""
    profile = Package(BUNDLED_MODEL).profile
    assert profile is not None
    assert profile.texts >= 500
    assert set(profile.features) == {"label", "score", "tokens", "unknown_tokens"}


def test_profile_is_read_and_changes_no_digest(copy: Path) -> None:
    """What traffic is compared with changes no score, so that every cached score stays valid."""
    digest = Package(copy).digest
    give_profile(copy)
    package = Package(copy)
    assert package.digest == digest
    assert package.profile is not None
    assert (package.profile.data, package.profile.features["tokens"].counts) == ("mine.tsv", [0, 3, 1])


def test_package_without_a_profile_is_sound(copy: Path) -> None:
    """As older exports and those without labelled texts are; a file that no manifest lists is not read."""
    digest = Package(copy).digest
    files = json.loads((copy / "manifest.json").read_text())["files"]
    del files["profile.json"]
    edit(copy, files=files)
    (copy / "profile.json").write_text("{")
    package = Package(copy)
    assert package.profile is None
    assert package.digest == digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "profile.json is not a profile of format 1: format: Input should be 1"),
        ({"texts": 5}, "label counts 4 texts, the profile 5"),
        ({"features": {}}, "features: Dictionary should have at least 1"),
        ({"features": {"mood": {"edges": [], "counts": [4]}}}, "features.mood"),
        ({"features": {"tokens": {"edges": [8, 4], "counts": [4, 0, 0]}}}, "edges should rise"),
        ({"features": {"tokens": {"edges": [8], "counts": [4]}}}, "1 edges make 2 bins, got 1 counts"),
        ({"features": {"tokens": {"edges": [8], "counts": [5, -1]}}}, "greater than or equal to 0"),
        ({"features": {"label": {"edges": [0, 1], "counts": [2, 1, 1]}}}, "counts 3 labels, the model has 2"),
    ],
    ids=str,
)
def test_wrong_profile_is_refused(copy: Path, changes: dict[str, object], message: str) -> None:
    """The message names the file, the place in it and what is wrong."""
    give_profile(copy, **changes)
    with pytest.raises(PackageError, match=message):
        Package(copy)


def test_digest_follows_the_weights(copy: Path) -> None:
    """The graph only refers to them: it may be the same file for two models."""
    files = json.loads((copy / "manifest.json").read_text())["files"]
    with (copy / "weights.safetensors").open("ab") as file:
        file.write(b" ")
    files["weights.safetensors"]["sha256"] = hashlib.sha256((copy / "weights.safetensors").read_bytes()).hexdigest()
    edit(copy, files=files)
    assert Package(copy).digest != Package(BUNDLED_MODEL).digest


def test_missing_folder_is_named(tmp_path: Path) -> None:
    """The message says where it looked."""
    with pytest.raises(PackageError, match=f"no model package at {tmp_path / 'none'}"):
        Package(tmp_path / "none")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "weights.safetensors", "profile.json"])
def test_changed_file_is_refused(copy: Path, name: str) -> None:
    """One byte more is enough."""
    with (copy / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(PackageError, match=rf"{name} was changed after its export"):
        Package(copy)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "weights.safetensors", "profile.json"])
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
