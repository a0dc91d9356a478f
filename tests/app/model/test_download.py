"""What is fetched, and what is refused: a real MLflow server, and a small hub."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow", reason="needs mlflow-skinny: the extra `registry`")
pytest.importorskip("huggingface_hub", reason="needs huggingface-hub: the extra `registry`")
import mlflow

from app.errors import PackageError
from app.model import download
from app.model.package import Package
from tests.mlflow_server import MlflowServer, publish, running
from tests.model_export.hub import COMMIT, HUB_ID, Hub


@pytest.fixture(scope="module")
def server() -> Iterator[MlflowServer]:
    """One server for all tests, each with models of its own."""
    with running() as started:
        yield started


@pytest.fixture
def client(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the server that MLFLOW_TRACKING_URI names."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(server.url)  # which another test of this process may have set, too, and comes first
    return mlflow.MlflowClient(server.url)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """The folder that packages are fetched to."""
    folder = tmp_path / "packages"
    folder.mkdir()
    return folder


@pytest.fixture
def package(bundled_model: Path, tmp_path: Path) -> Path:
    """A copy of the bundled package, to be changed."""
    return Path(shutil.copytree(bundled_model, tmp_path / "package"))


def change(package: Path, **fields: Any) -> None:
    """Overwrite fields of the manifest."""
    path = package / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


@pytest.mark.parametrize("name", ["models:/{model}@champion", "models:/{model}/{version}", "runs:/{run}/{inside}"])
def test_package_is_fetched_by_each_name(client: Any, bundled_model: Path, packages: Path, name: str) -> None:
    """The files that the manifest names, and no others; the folder is named after the manifest."""
    model, digest = f"by-{name.partition(':')[0]}-{len(name)}", Package(bundled_model).digest
    run, version = publish(client, bundled_model, model, digest=digest)
    client.set_registered_model_alias(model, "champion", version)
    inside = f"model/{download.PACKAGE_IN_MODEL}"
    found = download.download(name.format(model=model, version=version, run=run, inside=inside), packages)
    fetched = Package(packages / found)
    assert fetched.digest == digest
    assert {path.name for path in fetched.folder.iterdir()} == {"manifest.json", *fetched.manifest.files}
    assert [path.name for path in packages.iterdir()] == [found]


def test_what_is_there_is_not_fetched_again_unless_it_was_changed(
    client: Any, bundled_model: Path, packages: Path
) -> None:
    """The same files stay; a damaged one is replaced by the right one."""
    publish(client, bundled_model, "twice")
    name = "models:/twice/1"
    model = packages / download.download(name, packages) / "model.onnx"
    first = model.stat().st_ino
    download.download(name, packages)
    assert model.stat().st_ino == first
    model.write_bytes(b"damaged")
    download.download(name, packages)
    assert model.read_bytes() == (bundled_model / "model.onnx").read_bytes()
    assert [path.name for path in packages.iterdir()] == [model.parent.name]


def test_registry_that_names_another_digest_is_refused(client: Any, bundled_model: Path, packages: Path) -> None:
    """Whoever put other files in the version's place did not see to its tag."""
    publish(client, bundled_model, "other-digest", digest="0" * 64)
    with pytest.raises(PackageError, match=f"its digest is {Package(bundled_model).digest[:16]}, the registry says 0"):
        download.download("models:/other-digest/1", packages)


def test_file_that_was_changed_is_refused(client: Any, package: Path, packages: Path) -> None:
    """As many bytes as the manifest says, but others."""
    content = (package / "tokenizer.json").read_bytes()
    (package / "tokenizer.json").write_bytes(content[:-1] + b" ")
    publish(client, package, "changed")
    with pytest.raises(PackageError, match=r"tokenizer.json was changed after its export: sha256"):
        download.download("models:/changed/1", packages)
    assert list(packages.iterdir()) == []


def test_file_that_grows_beyond_its_size_is_refused(client: Any, package: Path, packages: Path) -> None:
    """The kernel ends it where the manifest says that it ends."""
    size = (package / "config.json").stat().st_size
    (package / "config.json").write_bytes(b" " * (size + 2 * download.SPARE_BYTES))
    publish(client, package, "grown")
    with pytest.raises(PackageError, match=f"config.json has more than the {size} bytes of which manifest.json speaks"):
        download.download("models:/grown/1", packages)
    assert list(packages.iterdir()) == []


FACTS = {"sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"../model.onnx": FACTS}, r"files.../model.onnx.\[key\]: String should match pattern"),
        ({"/etc/passwd": FACTS}, r"files./etc/passwd.\[key\]: String should match pattern"),
        ({".netrc": FACTS}, r"files..netrc.\[key\]: String should match pattern"),
        ({"model.onnx": FACTS | {"bytes": 3 << 30}}, r"its files have 3221225472 bytes \(allowed: 0 to 2147483648\)"),
        ({"a": FACTS | {"bytes": -1}, "b": FACTS}, r"its files have 0 bytes"),
        ({f"file{index}": FACTS for index in range(65)}, "files: Dictionary should have at most 64 items"),
    ],
    ids=["upwards", "absolute", "hidden", "large", "negative", "many"],
)
def test_manifest_beyond_the_bounds_is_refused(
    client: Any, package: Path, packages: Path, files: dict[str, Any], reason: str
) -> None:
    """Nothing of it is fetched."""
    for path in package.iterdir():
        if path.name != "manifest.json":
            path.unlink()
    change(package, files=files)
    run, _ = publish(client, package, "bounds")
    with pytest.raises(PackageError, match=reason):
        download.download(f"runs:/{run}/model/{download.PACKAGE_IN_MODEL}", packages)
    assert list(packages.iterdir()) == []


def test_manifest_that_is_none_is_refused(client: Any, package: Path, packages: Path) -> None:
    """Broken JSON, and a folder without a manifest."""
    for path in package.iterdir():
        if path.name != "manifest.json":
            path.unlink()
    (package / "manifest.json").write_text("{")
    run, _ = publish(client, package, "none")
    with pytest.raises(PackageError, match=r"manifest.json: : Invalid JSON"):
        download.download(f"runs:/{run}/model/{download.PACKAGE_IN_MODEL}", packages)
    with pytest.raises(PackageError, match=r"there is no manifest.json at mlflow-artifacts:/.*/nowhere$"):
        download.download(f"runs:/{run}/nowhere", packages)


@pytest.mark.parametrize(
    "name",
    ["models:/unknown@champion", "models:/unknown/3", f"runs:/{'0' * 32}/package"],
    ids=["alias", "number", "run"],
)
def test_unknown_name_is_refused_and_no_fault_of_the_server(
    client: Any, packages: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """So no older copy stands in for it."""
    assert client
    download.main([name, str(packages)])
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["refused"]
    assert "not found" in answer["refused"]


@pytest.mark.parametrize(
    "name",
    [
        "s3://bucket/package",
        "models:/NAME",
        "models:/../3",
        "models:/NAME@",
        "runs:/123/package",
        f"runs:/{'0' * 32}/../package",
        f"runs:/{'0' * 32}",
        "hf://NAME@main",
        "hf://OWNER/NAME",
        "hf://OWNER/NAME@../main",
    ],
)
def test_name_of_no_kind_is_refused(packages: Path, name: str) -> None:
    """With the forms that there are."""
    with pytest.raises(PackageError, match=r"neither a folder nor models:/NAME@ALIAS or models:/NAME/VERSION, runs:/"):
        download.download(name, packages)


def test_server_that_is_not_named_is_refused(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow would look into a folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(PackageError, match="MLFLOW_TRACKING_URI should name the server of MLflow"):
        download.download("models:/sentiment/1", packages)


@pytest.fixture
def hub(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that serves the package as `HUB_ID` at `COMMIT`."""
    with Hub(package) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server
        server.shutdown()
        thread.join()


def by_command(name: str, packages: Path, home: Path, **variables: str) -> dict[str, str]:
    """Fetch in a process of its own, which reads the hub's variables at its start."""
    command = [sys.executable, "-m", "app.model.download", name, str(packages)]
    environment = os.environ | {"HF_HOME": str(home)} | variables
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    answer: dict[str, str] = json.loads(process.stdout)
    return answer


def test_package_on_the_hub_is_fetched_at_one_commit(hub: Hub, packages: Path, tmp_path: Path) -> None:
    """A branch is resolved once, and every file comes from that commit."""
    answer = by_command(f"hf://{HUB_ID}@main", packages, tmp_path / "home")
    fetched = Package(packages / answer["digest"])
    assert {path.name for path in fetched.folder.iterdir()} == {"manifest.json", *fetched.manifest.files}
    files = [request for request in hub.requests if "/resolve/" in request]
    assert files
    assert all(f"/resolve/{COMMIT}/" in request for request in files)


def test_hub_says_no_or_nothing(hub: Hub, packages: Path, tmp_path: Path) -> None:
    """A revision that it does not have is refused; a hub that is down may be asked later."""
    assert "refused" in by_command(f"hf://{HUB_ID}@v9", packages, tmp_path / "home")
    hub.folder = tmp_path / "empty"
    hub.folder.mkdir()
    assert list(packages.iterdir()) == []
    down = by_command(f"hf://{HUB_ID}@main", packages, tmp_path / "home", HF_ENDPOINT="http://127.0.0.1:9")
    assert list(down) == ["unreachable"]
