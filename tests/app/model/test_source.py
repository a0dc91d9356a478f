"""Names of packages in the service, with a registry that comes, changes and goes."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("mlflow", reason="needs mlflow-skinny: the extra `registry`")
import mlflow

from app.errors import PackageError
from app.model.package import Package
from app.model.source import KEPT_PACKAGES, look_up
from tests.conftest import GUNICORN, ROOT, Service, free_port, until
from tests.mlflow_server import IMPATIENT, MlflowServer, publish, running

NAME = "models:/sentiment@champion"


@pytest.fixture(scope="module")
def server() -> Iterator[MlflowServer]:
    """One server for the file; whoever kills it starts it again."""
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def renamed(bundled_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled package under the name `successor`."""
    folder = Path(shutil.copytree(bundled_model, tmp_path_factory.mktemp("packages") / "successor"))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8")) | {"name": "successor"}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def client(server: MlflowServer, bundled_model: Path, renamed: Path) -> Any:
    """A client of the server, which has two versions of the model `sentiment`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.variables.items():
            patch.setenv(name, value)
        client = mlflow.MlflowClient(server.url)
        for package in (bundled_model, renamed):
            publish(client, package, "sentiment")
        yield client


def name_of(service: Service) -> tuple[str, dict[str, Any]]:
    """Which package a service has, and where from."""
    facts = httpx.get(f"{service.url}/model/info").json()
    return facts["name"], facts["origin"]


def test_service_follows_the_alias_and_outlives_its_registry(
    client: Any, server: MlflowServer, tmp_path: Path, start_service: Callable[..., Service]
) -> None:
    """Fetched at the start, anew after HUP, and served from the cache by a start without a registry."""
    variables = server.variables | {"VALENCE_MODEL_DIR": NAME, "VALENCE_MODEL_CACHE_DIR": str(tmp_path / "cache")}
    client.set_registered_model_alias("sentiment", "champion", "1")
    service = start_service(**variables, VALENCE_DRAIN_SECONDS="0").wait_ready()
    assert name_of(service) == ("distilbert-sst2-mini", {"name": NAME, "stale": None})
    client.set_registered_model_alias("sentiment", "champion", "2")
    service.process.send_signal(signal.SIGHUP)
    until(lambda: name_of(service)[0] == "successor", "the new champion answers")
    server.kill()
    try:
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "model_source_not_reached" in service.log.read_text(), "the copy is served")
        again = start_service(**variables).wait_ready()
        name, origin = name_of(again)
        assert (name, origin["name"]) == ("successor", NAME)
        assert "Connection refused" in origin["stale"]
    finally:
        server.start()


def test_start_without_registry_and_copy_is_one_line(tmp_path: Path) -> None:
    """Which names the place where a copy would be."""
    variables = IMPATIENT | {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}", "VALENCE_MODEL_DIR": NAME}
    environment = os.environ | variables | {"VALENCE_MODEL_CACHE_DIR": str(tmp_path / "cache")}
    process = subprocess.run([GUNICORN], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    line = process.stderr.splitlines()[-1]
    assert line.startswith(f"error: {NAME}: API request to {variables['MLFLOW_TRACKING_URI']}/api/")
    assert line.endswith(f"; the cache {tmp_path / 'cache'} has no copy of it (VALENCE_MODEL_DIR)")
    assert "Traceback" not in process.stderr


def test_registry_that_hangs_is_left_in_bounded_time(
    client: Any, server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and answers none: the copy is served, and says why."""
    assert client
    name = "models:/sentiment/1"
    assert look_up(name, tmp_path).stale is None
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    os.killpg(server.process.pid, signal.SIGSTOP)
    try:
        found = look_up(name, tmp_path)
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)
    assert "timed out" in (found.stale or "").lower()
    assert Package(found.folder).manifest.name == "distilbert-sst2-mini"


def test_several_processes_may_fetch_at_once(client: Any, tmp_path: Path) -> None:
    """Both get the same whole package, and leave nothing else."""
    assert client
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: look_up("models:/sentiment/2", tmp_path).folder, range(2)))
    assert len(set(folders)) == 1
    assert Package(folders[0]).manifest.name == "successor"
    assert list((tmp_path / "packages").iterdir()) == [folders[0]]
    assert len(list((tmp_path / "names").iterdir())) == 1


def test_cache_keeps_a_bounded_number_of_packages(client: Any, tmp_path: Path) -> None:
    """Those that were asked for last; names that would lead nowhere go with the others."""
    assert client
    (tmp_path / "names").mkdir()
    for age in range(KEPT_PACKAGES + 1):
        folder = tmp_path / "packages" / f"package{age}"
        folder.mkdir(parents=True)
        os.utime(folder, (age, age))
        (tmp_path / "names" / f"name{age}").symlink_to(Path("..", "packages", folder.name))
    (tmp_path / "packages" / ".abandoned.tmp").mkdir()
    os.utime(tmp_path / "packages" / ".abandoned.tmp", (0, 0))
    found = look_up("models:/sentiment/1", tmp_path).folder.name
    kept = {f"package{age}" for age in range(2, KEPT_PACKAGES + 1)}
    assert {path.name for path in (tmp_path / "packages").iterdir()} == kept | {found}
    names = {path.name for path in (tmp_path / "names").iterdir()}
    assert names == {f"name{age}" for age in range(2, KEPT_PACKAGES + 1)} | {"models%3A%2Fsentiment%2F1"}


def test_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that has it."""
    (tmp_path / "mlflow.py").write_text("raise ModuleNotFoundError('mlflow')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(PackageError, match=f"^{NAME}: mlflow-skinny is missing: install the extra `registry`"):
        look_up(NAME, tmp_path / "cache")


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With its variable, before anything is fetched."""
    (tmp_path / "file").touch()
    with pytest.raises(PackageError, match=r"^VALENCE_MODEL_CACHE_DIR='.*/file' can't be written: "):
        look_up(NAME, tmp_path / "file")


def test_folder_needs_no_cache(tmp_path: Path) -> None:
    """It is itself, even where there is none: who reads it says so."""
    assert look_up("some/folder", tmp_path / "cache").folder == Path("some/folder")
    assert not (tmp_path / "cache").exists()
