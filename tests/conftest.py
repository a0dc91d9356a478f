"""The real parts that tests share: the service as its users run it, and a Redis of their own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.settings import BUNDLED_MODEL
from tests.app import plain_http

ROOT = Path(__file__).resolve().parent.parent
GUNICORN = str(Path(sys.executable).with_name("gunicorn"))
"""As a script: `python -m gunicorn` can't start itself again at SIGUSR2."""
START_SECONDS = 300
"""How long a process may take to be up; reached only by a failing test."""


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Return as soon as `condition` holds; fail the test if that takes longer than so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {seconds} s: {what}"
        time.sleep(0.02)


class Service:
    """The service in processes of its own, started by gunicorn (or another `module`) with this environment.

    What it says goes to the file `log`, or to the descriptor `output` if there is one.
    """

    def __init__(self, log: Path, *, module: str = "gunicorn", output: int | None = None, **variables: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.metrics_url = f"http://127.0.0.1:{free_port()}/metrics"
        self.log = log
        self._interrupted = False
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VALENCE_")}
        ours = {"VALENCE_BIND": self.url[7:], "VALENCE_METRICS_BIND": self.metrics_url[7:].removesuffix("/metrics")}
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [GUNICORN] if module == "gunicorn" else [sys.executable, "-m", module],
                cwd=ROOT,
                env=clean | ours | variables,
                stdout=file if output is None else output,
                stderr=subprocess.STDOUT,
            )

    def get(self, path: str) -> httpx.Response | None:
        """GET, or None while nobody listens."""
        try:
            return plain_http.get(self.url + path)
        except httpx.TransportError:
            return None

    def wait_ready(self) -> "Service":
        """Return once `/readyz` says 200; fail with the log if the process ends instead."""

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            answer = self.get("/readyz")
            return answer is not None and answer.status_code == httpx.codes.OK

        until(ready, f"{self.url}/readyz says 200")
        return self

    def metric(self, name: str) -> float:
        """The value of one sample, named with its labels as `/metrics` prints it; 0 when it is not there."""
        for line in plain_http.get(self.metrics_url).text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample == name:
                return float(value)
        return 0.0

    def interrupt(self) -> None:
        """Have it stop at once, as Ctrl-C does; a second time would be another signal, and does nothing."""
        if not self._interrupted and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self._interrupted = True

    def stop(self) -> int:
        """The same, and return the exit status."""
        self.interrupt()
        return self.process.wait(START_SECONDS)


StartService = Callable[..., Service]


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Start services with settings of their own: `start_service(VALENCE_MAX_TEXTS="2")`; not yet ready."""
    all_started: list[Service] = []
    with ExitStack() as stack:

        def start(*, module: str = "gunicorn", output: int | None = None, **variables: str) -> Service:
            log = tmp_path / f"service-{free_port()}.log"
            started = Service(log, module=module, output=output, **variables)
            stack.callback(started.stop)
            all_started.append(started)
            return started

        yield start
        for one in all_started:  # together, and then each is waited for
            one.interrupt()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service with default settings for all tests that leave no trace in it."""
    started = Service(tmp_path_factory.mktemp("service") / "service.log", VALENCE_DRAIN_SECONDS="0")
    try:
        yield started.wait_ready()
    finally:
        started.stop()


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same with the bundled tabular model."""
    log = tmp_path_factory.mktemp("wine") / "service.log"
    started = Service(log, VALENCE_DRAIN_SECONDS="0", VALENCE_MODEL_DIR=str(ROOT / "models" / "wine-quality"))
    try:
        yield started.wait_ready()
    finally:
        started.stop()


class RedisServer:
    """A real Redis without persistence, on a port of its own, that can be hung, killed and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self.start(*options)

    def start(self, *options: str) -> None:
        """Start it (again) and wait until it listens."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed; `make test` installs it")
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
        until(self._listens, "redis-server listens")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def hang(self) -> None:
        """Stop it in its tracks: connections stay open, nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a farewell."""
        self.process.kill()
        self.process.wait(START_SECONDS)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A fresh Redis."""
    server = RedisServer(tmp_path)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def bundled_model() -> Path:
    """The folder of the bundled model package."""
    return BUNDLED_MODEL
