"""The training service in a process of its own, as its users start it, with a store of MLflow's in files."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import ROOT, free_port

PATIENCE_SECONDS = 600
"""How long a training may take; reached only by a failing test."""


def until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as `condition` holds; as the one of tests.conftest, but for trainings."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.1)


class TrainingService:
    """`python -m training.service` in `folder`, with these settings, and its temporary files in `folder`/temporary."""

    def __init__(self, folder: Path, **variables: str) -> None:
        port = free_port()
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.log = folder / "service.log"
        self.store = (folder / "runs").as_uri()
        ours = {"MLFLOW_TRACKING_URI": self.store, "MLFLOW_ALLOW_FILE_STORE": "true", "TMPDIR": str(self.temporary)}
        ours |= {"VALENCE_TRAINING_PORT": str(port), "VALENCE_TRAINING_ANSWER_SECONDS": str(PATIENCE_SECONDS)}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VALENCE_")}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "training.service"],
                cwd=ROOT,
                env=clean | ours | variables,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS)

    def ready(self) -> bool:
        """Whether it answers; fails with its log if it has ended."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.http.get("/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def train(self, document: dict[str, Any]) -> httpx.Response:
        """POST /train."""
        return self.http.post("/train", json=document)

    def state(self, url: str) -> dict[str, Any]:
        """What a training's status says."""
        answer: dict[str, Any] = self.http.get(url).json()
        return answer

    def children(self) -> list[int]:
        """The processes that it has started and that are there."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]

    def stop(self) -> int:
        """End it as a container's runtime does; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def started(folder: Path, **variables: str) -> Iterator[TrainingService]:
    """The service, ready, until the block ends."""
    service = TrainingService(folder, **variables)
    try:
        until(service.ready, "the training service answers")
        yield service
    finally:
        service.stop()
        service.http.close()
