"""Standard output that takes nothing: lines are dropped and counted, and no request waits for one."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app import plain_http
from tests.conftest import GUNICORN, ROOT, START_SECONDS, Service, free_port, until

REQUESTS = 100
"""Of 100,000 characters each, which are logged: more than 4 MiB may wait."""


@contextmanager
def full_disk() -> Iterator[int]:
    """Each write fails with ENOSPC."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@contextmanager
def closed_pipe() -> Iterator[int]:
    """Each write fails with EPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def full_pipe() -> Iterator[int]:
    """The first writes fill it, and the next waits for ever."""
    reader, writer = os.pipe()
    yield writer
    os.close(writer)
    os.close(reader)


class Muted(Service):
    """The service with a standard output of its own."""

    def __init__(self, output: int) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        metrics = f"127.0.0.1:{free_port()}"
        self.metrics_url = f"http://{metrics}/metrics"
        self.log = Path(os.devnull)
        variables = {"VALENCE_BIND": self.url[7:], "VALENCE_METRICS_BIND": metrics, "VALENCE_LOG_TEXTS": "true"}
        self.process = subprocess.Popen([GUNICORN], cwd=ROOT, env=os.environ | variables, stdout=output, stderr=output)


@pytest.mark.parametrize("output", [full_disk, closed_pipe, full_pipe])
def test_lines_are_dropped_and_no_request_is(output: object) -> None:
    """All are answered, `/livez` too, and the process ends when it is told to."""
    assert callable(output)
    with output() as descriptor:
        service = Muted(descriptor)
        try:
            service.wait_ready()
            body = {"text": ["x" * 100_000]}
            for _ in range(REQUESTS):
                assert plain_http.post(service.url + "/predict", json=body).status_code == 200
            assert plain_http.get(service.url + "/livez").status_code == 200
            until(lambda: service.metric("valence_log_lines_dropped_total") > REQUESTS / 3, "lost lines are counted")
            service.process.send_signal(signal.SIGINT)
            assert service.process.wait(START_SECONDS) == 0
        finally:
            if service.process.poll() is None:
                service.process.kill()
                service.process.wait(START_SECONDS)
