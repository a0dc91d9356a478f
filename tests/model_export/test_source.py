"""model_export/source.py against folders and against a hub on localhost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

from model_export.errors import ExportError
from model_export.source import DEFAULT_MODEL, PINNED_REVISIONS, SENTENCEPIECE_FILES, fetch, weight_files
from tests.model_export.command import REPOSITORY
from tests.model_export.hub import COMMIT, HUB_ID, Hub, closed_endpoint
from tests.model_export.tiny import write_checkpoint

_FETCH = """
import json, sys
from model_export.errors import ExportError
from model_export.source import fetch
try:
    source = fetch(sys.argv[1], sys.argv[2] or None)
except ExportError as exc:
    print(json.dumps({"error": str(exc)}))
else:
    files = sorted(path.name for path in source.folder.iterdir())
    print(json.dumps({"id": source.id, "revision": source.revision, "files": files}))
"""


def fetch_from(endpoint: str, home: Path, model: str, revision: str = "") -> dict[str, object]:
    """Fetch in a process of its own: huggingface_hub reads its endpoint and its cache folder when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", _FETCH, model, revision],
        cwd=REPOSITORY,
        env=os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home)},
        stdout=subprocess.PIPE,
        timeout=300,
        check=True,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_folder_is_named_without_its_path(checkpoint: Path) -> None:
    """A manifest never tells where on somebody's disk a checkpoint lay."""
    source = fetch(str(checkpoint), None)
    assert (source.id, source.revision, source.folder) == ("tiny-distilbert", None, checkpoint)


def test_folder_with_revision_is_refused(checkpoint: Path) -> None:
    """A folder has no revisions; to ignore the option would pretend that it was pinned."""
    with pytest.raises(ExportError, match="--revision is for hub ids"):
        fetch(str(checkpoint), COMMIT)


def test_default_model_is_pinned() -> None:
    """The one source that the project names itself has an entry in the one place for pins."""
    assert DEFAULT_MODEL in PINNED_REVISIONS


def test_download_takes_the_wanted_files_at_the_commit(hub: Hub, checkpoint: Path, tmp_path: Path) -> None:
    """Config, tokenizer and safetensors arrive; nothing else is downloaded, and no branch is asked for."""
    (extra := checkpoint / "training_args.bin").write_bytes(b"pickle")
    try:
        answer = fetch_from(hub.endpoint, tmp_path, HUB_ID, COMMIT)
    finally:
        extra.unlink()
    assert answer["revision"] == COMMIT
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(answer["files"])  # type: ignore[call-overload]
    assert not any("training_args" in request or "main" in request for request in hub.requests)


def test_branch_is_resolved_to_its_commit(hub: Hub, tmp_path: Path) -> None:
    """Without a revision the manifest still gets a commit, not the name of a branch that moves."""
    assert fetch_from(hub.endpoint, tmp_path, HUB_ID)["revision"] == COMMIT


def test_old_checkpoint_falls_back_to_pytorch_weights(hub: Hub, tmp_path: Path) -> None:
    """A model without safetensors is fetched with its pytorch_model.bin."""
    hub.folder = write_checkpoint(tmp_path / "old")
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    answer = fetch_from(hub.endpoint, tmp_path / "home", HUB_ID, COMMIT)
    assert "pytorch_model.bin" in answer["files"]  # type: ignore[operator]


@pytest.mark.parametrize("file", SENTENCEPIECE_FILES)
def test_tokenizer_of_sentencepiece_is_fetched(hub: Hub, tmp_path: Path, file: str) -> None:
    """Many a multilingual checkpoint has no other."""
    hub.folder = write_checkpoint(tmp_path / "multilingual")
    (hub.folder / "tokenizer.json").rename(hub.folder / file)
    answer = fetch_from(hub.endpoint, tmp_path / "home", HUB_ID, COMMIT)
    assert file in answer["files"]  # type: ignore[operator]


def test_cached_commit_needs_no_hub(hub: Hub, tmp_path: Path) -> None:
    """A pinned commit never changes, so a second export works without the network."""
    first = fetch_from(hub.endpoint, tmp_path, HUB_ID, COMMIT)
    assert fetch_from(closed_endpoint(), tmp_path, HUB_ID, COMMIT) == first


@pytest.mark.parametrize(
    ("model", "revision", "reason"),
    [
        ("someone/unknown", "", "neither a folder nor a model on http"),
        ("someone/unknown", COMMIT, "neither a folder nor a model on http"),
        (HUB_ID, "v9", "has no revision 'v9'"),
        (HUB_ID, "f" * 40, f"has no revision '{'f' * 40}'"),
        ("a--b/c", "", "a--b/c"),
    ],
)
def test_unknown_names_are_told_apart(hub: Hub, tmp_path: Path, model: str, revision: str, reason: str) -> None:
    """The line says whether the model or its revision is wrong."""
    error = fetch_from(hub.endpoint, tmp_path, model, revision)["error"]
    assert reason in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("revision", ["", COMMIT])
def test_hub_out_of_reach_is_named(tmp_path: Path, revision: str) -> None:
    """Without a network the line names the hub that didn't answer."""
    endpoint = closed_endpoint()
    error = fetch_from(endpoint, tmp_path, HUB_ID, revision)["error"]
    assert str(error).startswith(f"cannot fetch {HUB_ID} from {endpoint}: ")


@pytest.mark.parametrize("model", ["./nowhere", "no/such/folder", "/nowhere", "with space"])
def test_path_that_is_no_folder_is_not_looked_up(model: str) -> None:
    """What can't be a hub id never reaches the network."""
    with pytest.raises(ExportError, match="neither a folder nor a hub id"):
        fetch(model, None)


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    """Where a checkpoint carries its weights twice, the digest is that of the file that gets loaded."""
    for name in ("pytorch_model.bin", "model.safetensors"):
        (tmp_path / name).touch()
    assert [path.name for path in weight_files(tmp_path)] == ["model.safetensors"]
