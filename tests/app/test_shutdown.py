"""SIGTERM drains, SIGINT stops at once, and neither loses a request that is being answered."""

import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.app import plain_http, raw_http
from tests.conftest import Service, StartService, until

LONG_TEXTS = [f"number {number} is a truly wonderful film " * 60 for number in range(32)]


def send_signal(service: Service, number: int) -> None:
    """To the parent, as Kubernetes and `kill` do it."""
    service.process.send_signal(number)


def press_ctrl_c(service: Service, number: int) -> None:
    """To every process at once, as a terminal does it."""
    for worker in re.findall(r"Booting worker with pid: (\d+)", service.log.read_text()):
        os.kill(int(worker), number)
    service.process.send_signal(number)


def slow_request(service: Service, pool: ThreadPoolExecutor) -> Future[httpx.Response]:
    """A request of some seconds; returns while its texts are being scored."""
    pending = pool.submit(plain_http.post, service.url + "/predict", json={"text": LONG_TEXTS})
    until(lambda: service.metric("valence_queue_tokens") > 0, "the texts wait for the model")
    return pending


def test_sigterm_is_announced_before_anything_stops(start_service: StartService) -> None:
    """For the time of the drain `/readyz` says 503, and predictions go on; then the process ends with status 0."""
    started = start_service(VALENCE_DRAIN_SECONDS="3").wait_ready()
    with httpx.Client(base_url=started.url, timeout=300) as client:
        assert "Connection" not in client.post("/predict", json={"text": ["good"]}).headers
        started.process.terminate()
        until(lambda: client.get("/readyz").status_code == 503, "/readyz says 503")
        assert client.get("/readyz").json() == {"status": "draining: this process was told to stop"}
        answered = client.post("/predict", json={"text": ["good", "never seen before"]})
        assert answered.status_code == 200
        assert answered.headers["Connection"] == "close"
        assert client.get("/livez").status_code == 200
        assert started.process.poll() is None
    assert started.process.wait(200) == 0


@pytest.mark.parametrize(
    ("stop", "number", "drain_seconds"),
    [
        (send_signal, signal.SIGTERM, "0"),
        (send_signal, signal.SIGINT, "300"),
        (press_ctrl_c, signal.SIGINT, "300"),
    ],
    ids=["sigterm", "sigint", "ctrl-c"],
)
def test_request_under_way_is_answered(
    start_service: StartService, stop: Callable[[Service, int], None], number: int, drain_seconds: str
) -> None:
    """Texts that were being scored when the signal came are answered, all of them, and then the process ends."""
    started = start_service(VALENCE_DRAIN_SECONDS=drain_seconds).wait_ready()
    with ThreadPoolExecutor(1) as pool:
        pending = slow_request(started, pool)
        stop(started, number)
        assert started.process.wait(200) == 0
        assert pending.result().status_code == 200
        assert len(pending.result().json()["predictions"]) == len(LONG_TEXTS)
    assert "SIGKILL" not in started.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_sigint_stops_without_draining(start_service: StartService, number: int) -> None:
    """With an idle connection open and a drain of five minutes, the process ends now, with status 0, in good order."""
    started = start_service(VALENCE_DRAIN_SECONDS="300").wait_ready()
    with httpx.Client(base_url=started.url, timeout=300) as client:
        client.get("/health")
        started.process.send_signal(number)
        assert started.process.wait(200) == 0
    log = started.log.read_text()
    assert "Application shutdown complete." in log
    assert '"level":"error"' not in log


def test_new_connection_gets_its_first_answer(start_service: StartService) -> None:
    """One that was taken just before the end, and whose request arrives just after it, is not reset."""
    started = start_service(VALENCE_DRAIN_SECONDS="0").wait_ready()
    port = int(started.url.rpartition(":")[2])
    new = raw_http.Client(port)
    with new.socket:
        plain_http.get(started.url + "/livez")  # connections are taken in turn, so the first one has been
        started.process.terminate()
        until(lambda: not raw_http.accepts(port), "no more connections are taken")
        status, _, _ = raw_http.ask(new, raw_http.post(b'{"text": ["good"]}'))
    assert status == b"HTTP/1.1 200 OK"
    assert started.process.wait(200) == 0


def test_second_signal_ends_the_drain(start_service: StartService) -> None:
    """Ctrl-C after SIGTERM does not wait for the rest of the five minutes."""
    started = start_service(VALENCE_DRAIN_SECONDS="300").wait_ready()
    started.process.terminate()
    until(lambda: plain_http.get(started.url + "/readyz").status_code == 503, "/readyz says 503")
    started.process.send_signal(signal.SIGINT)
    assert started.process.wait(200) == 0


def test_sigterm_while_loading_is_obeyed(start_service: StartService) -> None:
    """A process that is not ready yet ends as well."""
    started = start_service(VALENCE_DRAIN_SECONDS="0")
    until(lambda: '"event":"starting"' in started.log.read_text(), "the worker starts")
    started.process.terminate()
    assert started.process.wait(200) == 0
