"""model_export/package.py: a package appears whole or not at all."""

import json
import stat
from pathlib import Path

import pytest

from model_export.errors import ExportError
from model_export.package import publish, replace, staging


def write_package(folder: Path, version: str) -> Path:
    """The smallest folder that counts as a package of ours."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": {}, "name": version}))
    (folder / "model.onnx").write_text(version)
    return folder


def test_package_moves_to_its_place(tmp_path: Path) -> None:
    """The finished folder is at its place, readable by everyone, and nothing is left beside it."""
    output = tmp_path / "new" / "package"
    with staging(output) as stage:
        publish(write_package(stage / "package", "1"), output)
    assert (output / "model.onnx").read_text() == "1"
    assert stat.S_IMODE(output.stat().st_mode) & 0o055 == 0o055
    assert [path.name for path in output.parent.iterdir()] == ["package"]


def fail_halfway(output: Path, failure: type[BaseException]) -> None:
    """Begin a package, then fail."""
    with staging(output) as stage:
        write_package(stage / "package", "half")
        raise failure


@pytest.mark.parametrize("failure", [ExportError, KeyboardInterrupt, RuntimeError])
def test_failure_leaves_no_trace(tmp_path: Path, failure: type[BaseException]) -> None:
    """Whatever ends the work, no half of a package and no temporary folder stays behind."""
    with pytest.raises(failure):
        fail_halfway(tmp_path / "package", failure)
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_the_older_package(tmp_path: Path) -> None:
    """A failed export over an older package leaves that one as it was."""
    output = write_package(tmp_path / "package", "1")
    with pytest.raises(ExportError):
        fail_halfway(output, ExportError)
    assert (output / "model.onnx").read_text() == "1"


def test_older_package_is_replaced_but_its_card_stays(tmp_path: Path) -> None:
    """The files of the package are new; a model card that somebody put beside them is kept."""
    output = write_package(tmp_path / "package", "1")
    (output / "README.md").write_text("card")
    (output / "pictures").mkdir()
    with staging(output) as stage:
        publish(write_package(stage / "package", "2"), output)
    assert (output / "model.onnx").read_text() == "2"
    assert (output / "README.md").read_text() == "card"
    assert (output / "pictures").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def test_weights_of_an_older_package_do_not_stay(tmp_path: Path) -> None:
    """They are the package's own: beside the graph of another network they would be believed to be its weights."""
    output = write_package(tmp_path / "package", "1")
    (output / "weights.safetensors").write_text("1")
    (output / "profile.json").write_text("1")
    with staging(output) as stage:
        publish(write_package(stage / "package", "2"), output)
    assert {path.name for path in output.iterdir()} == {"manifest.json", "model.onnx"}


def test_failed_second_rename_brings_the_old_package_back(tmp_path: Path) -> None:
    """If the new package can't be moved, the old one returns to its place."""
    old = write_package(tmp_path / "package", "1")
    (tmp_path / "stage").mkdir()
    with pytest.raises(FileNotFoundError):
        replace(old, tmp_path / "stage" / "missing")
    assert (old / "model.onnx").read_text() == "1"
    assert list((tmp_path / "stage").iterdir()) == []


def test_empty_folder_may_be_filled(tmp_path: Path) -> None:
    """A folder that somebody made in advance is as good as none."""
    output = tmp_path / "package"
    output.mkdir()
    with staging(output) as stage:
        publish(write_package(stage / "package", "1"), output)
    assert (output / "model.onnx").read_text() == "1"


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    """Somebody's files are never taken for an older package."""
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(ExportError, match="not empty and not a model package"), staging(tmp_path):
        pytest.fail("the folder was accepted")


def test_file_is_refused(tmp_path: Path) -> None:
    """A file at the place of the folder is not replaced."""
    (path := tmp_path / "package").touch()
    with pytest.raises(ExportError, match="exists and is not a folder"), staging(path):
        pytest.fail("the file was accepted")


@pytest.mark.parametrize("output", ["file/package", "/proc/package"])
def test_unwritable_place_is_refused_at_once(tmp_path: Path, output: str) -> None:
    """Minutes of work are not begun for a folder that can't be written, not even as root."""
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot write to"), staging(tmp_path / output):
        pytest.fail("the place was accepted")
