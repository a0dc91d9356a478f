"""A real MLflow server on loopback, its database and artifacts in a folder, that can be killed and started again."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app import plain_http
from tests.conftest import ROOT, START_SECONDS, free_port

PROGRAM = ROOT / ".venv-mlflow" / "bin" / "mlflow"
"""In an environment of its own: it needs older versions of our libraries."""
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""For clients in tests: a server that is down needs no second try."""


PATIENCE_SECONDS = 300
"""It takes 10 s of CPU time to start, and other tests run at the same time."""


class MlflowServer:
    """Listens at `url` from the start; `kill` and `start` as often as a test wants."""

    def __init__(self, folder: Path) -> None:
        if not PROGRAM.exists():
            pytest.skip("MLflow's server is not installed: make .venv-mlflow/bin/mlflow")
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.variables = IMPATIENT | {"MLFLOW_TRACKING_URI": self.url}
        self.start()

    def start(self) -> None:
        """Start it (again), and wait until it answers."""
        command = [PROGRAM, "server", "--host=127.0.0.1", f"--port={self._port}", "--workers=1"]
        command += [f"--backend-store-uri=sqlite:///{self._folder}/mlflow.db"]
        command += [f"--artifacts-destination={self._folder}/artifacts"]
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
            time.sleep(0.1)

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self._folder / "server.log").read_text()
        try:
            return plain_http.get(f"{self.url}/health", timeout=5).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """End it and its workers without a farewell."""
        os.killpg(self.process.pid, 9)
        self.process.wait(START_SECONDS)


@contextmanager
def running() -> Iterator[MlflowServer]:
    """A fresh server."""
    with tempfile.TemporaryDirectory() as folder:
        server = MlflowServer(Path(folder))
        try:
            yield server
        finally:
            server.kill()


def publish(client: Any, package: Path, model: str, **tags: str) -> tuple[str, str]:
    """Log `package` to a run and make it a version of `model`, as files only; the run's id and the version."""
    experiment = client.get_experiment_by_name("tests")
    run = client.create_run(experiment.experiment_id if experiment else client.create_experiment("tests")).info
    for file in sorted(package.iterdir()):
        client.log_artifact(run.run_id, str(file), "model/artifacts/package")
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    version = client.create_model_version(model, f"{run.artifact_uri}/model", run.run_id, tags=tags)
    return run.run_id, str(version.version)
