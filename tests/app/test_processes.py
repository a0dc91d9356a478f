"""Workers that are added, taken away, replaced and killed, and the parent above them: nothing is lost."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.app import plain_http
from tests.conftest import GUNICORN, ROOT, Service, StartService, until

SENT = 'http_requests_total{method="POST",route="/predict",status="200"}'


class Traffic:
    """Clients, each on a connection that it keeps as long as it may, until the block ends."""

    def __init__(self, service: Service, clients: int = 4) -> None:
        self.outcomes: Counter[object] = Counter()
        self._service = service
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        until(lambda: self.outcomes[200] > 50, "requests are answered")
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int = 200) -> None:
        """Return after so many further answers."""
        wanted = self.outcomes[200] + count
        until(lambda: self.outcomes[200] >= wanted, f"{count} more requests are answered")

    def _ask(self, number: int) -> None:
        turn = 0
        with httpx.Client(base_url=self._service.url, timeout=300, trust_env=False) as client:
            while not self._end.wait(0.02):
                turn += 1
                try:
                    answer = client.post("/predict", json={"text": [f"client {number} turn {turn % 50}"]})
                    self.outcomes[answer.status_code] += 1
                except httpx.TransportError as exc:
                    self.outcomes[repr(exc)] += 1


def workers(service: Service) -> list[int]:
    """Process ids of the workers that live, in the order of their start."""
    started = map(int, re.findall(r"Booting worker with pid: (\d+)", service.log.read_text()))
    return [pid for pid in started if alive(pid)]


def alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


@pytest.mark.parametrize("count", ["1", "2"])
def test_reload_loses_nothing(start_service: StartService, count: str) -> None:
    """SIGHUP replaces the workers; with several, their counts go on. The end, too, is quiet."""
    started = start_service(VALENCE_WORKERS=count, VALENCE_DRAIN_SECONDS="4").wait_ready()
    before = workers(started)
    with Traffic(started) as traffic:
        started.process.send_signal(signal.SIGHUP)
        until(lambda: not set(before) & set(workers(started)), "the old workers have ended")
        traffic.more()
    assert set(traffic.outcomes) == {200}
    if count == "2":
        assert started.metric(SENT) == traffic.outcomes[200]
    until(lambda: started.metric("valence_ready") == 1, "the last of the new workers is ready, too")
    assert started.stop() == 0
    log = started.log.read_text()
    assert '"level":"error"' not in log
    assert "Error while closing" not in log  # no socket is closed twice


def test_worker_can_be_added_and_taken(start_service: StartService) -> None:
    """TTIN makes two of one, which share their metrics from then on; TTOU makes one of two."""
    started = start_service(VALENCE_DRAIN_SECONDS="4").wait_ready()
    with Traffic(started) as traffic:
        (first,) = workers(started)
        started.process.send_signal(signal.SIGTTIN)
        until(lambda: not alive(first) and len(workers(started)) == 2, "two workers share their metrics")
        until(lambda: started.metric("valence_inference_threads") >= 2, "both are seen")
        traffic.more()
        started.process.send_signal(signal.SIGTTOU)
        until(lambda: len(workers(started)) == 1, "one worker is left")
        counted = started.metric(SENT)
        traffic.more()
        assert started.metric(SENT) >= counted + 200
    assert set(traffic.outcomes) == {200}
    assert started.stop() == 0


def test_worker_is_replaced_after_its_requests(start_service: StartService) -> None:
    """`max_requests`, by GUNICORN_CMD_ARGS, with two workers."""
    arguments = "--max-requests 200 --workers 2"
    started = start_service(GUNICORN_CMD_ARGS=arguments, VALENCE_DRAIN_SECONDS="4").wait_ready()
    before = workers(started)
    with Traffic(started) as traffic:
        until(lambda: not set(before) & set(workers(started)), "the first workers have been replaced")
        traffic.more()
    assert set(traffic.outcomes) == {200}
    assert started.metric(SENT) == traffic.outcomes[200]
    assert started.stop() == 0


def test_parent_is_replaced(start_service: StartService) -> None:
    """SIGUSR2 starts a new parent beside the old one, which is then told to end."""
    started = start_service(VALENCE_DRAIN_SECONDS="4").wait_ready()
    with Traffic(started) as traffic:
        started.process.send_signal(signal.SIGUSR2)
        until(lambda: started.log.read_text().count('"event":"ready"') == 2, "the new parent's worker is ready")
        successor = workers(started)[-1]
        parent = int(Path(f"/proc/{successor}/stat").read_text().rpartition(") ")[2].split()[1])
        try:
            started.process.terminate()
            assert started.process.wait(300) == 0
            traffic.more()
            assert started.metric(SENT) > 0
        finally:
            os.kill(parent, signal.SIGTERM)
    until(lambda: not alive(parent), "the new parent has ended")
    assert set(traffic.outcomes) <= {200, *errors_after_the_end(traffic)}


def errors_after_the_end(traffic: Traffic) -> set[object]:
    """Refused connections: both parents were told to end while the clients still asked."""
    return {outcome for outcome in traffic.outcomes if "ConnectError" in str(outcome)}


@pytest.mark.parametrize("count", ["1", "2"])
def test_killed_worker_costs_no_new_request(start_service: StartService, count: str) -> None:
    """What the dead one was answering is lost with it; everything that comes later waits, at most, and is answered."""
    started = start_service(VALENCE_WORKERS=count).wait_ready()
    outcomes: Counter[object] = Counter()
    for turn in range(60):
        if turn == 20:  # between two requests
            os.kill(workers(started)[0], signal.SIGKILL)
        answer = plain_http.post(started.url + "/predict", json={"text": [f"turn {turn}"]})
        outcomes[answer.status_code] += 1
    assert outcomes == {200: 60}
    until(lambda: len(workers(started)) == int(count), "there are as many workers as before")


def test_killed_parent_takes_its_workers_along(start_service: StartService) -> None:
    """So that the next one can have their port."""
    started = start_service(VALENCE_WORKERS="2").wait_ready()
    orphans = workers(started)
    started.process.kill()
    started.process.wait(300)
    until(lambda: not any(map(alive, orphans)), "the workers have ended")
    again = start_service(VALENCE_BIND=started.url[7:])
    again.url = started.url
    again.wait_ready()
    assert again.stop() == 0


def test_worker_that_cannot_boot_ends_the_parent(
    start_service: StartService, bundled_model: Path, tmp_path: Path
) -> None:
    """With the reason, once: here the package is damaged while the service runs, and the worker is killed then."""
    package = tmp_path / "package"
    shutil.copytree(bundled_model, package)
    started = start_service(VALENCE_MODEL_DIR=str(package)).wait_ready()
    (package / "manifest.json").write_text("{}")
    os.kill(workers(started)[0], signal.SIGKILL)
    assert started.process.wait(300) == 3
    log = started.log.read_text()
    assert "manifest.json" in log
    assert "Traceback" not in log


def start_and_fail(**variables: str) -> str:
    """What a start that fails prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VALENCE_")}
    command = [GUNICORN]
    failed = subprocess.run(
        command, cwd=ROOT, env=clean | variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert failed.returncode == 1
    return failed.stderr.strip()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not mount or not umount or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can't be mounted here")
    yield folder
    subprocess.run([umount, str(folder)], check=True)


def test_several_workers_without_room_for_metrics(small_disk: Path) -> None:
    """One line."""
    printed = start_and_fail(VALENCE_WORKERS="2", TMPDIR=str(small_disk))
    assert printed == "error: 2 workers need a folder for their metrics (TMPDIR): No space left on device"
    assert list(small_disk.iterdir()) == []


def test_start_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """Not even the folder for the metrics of several workers."""
    printed = start_and_fail(VALENCE_WORKERS="2", VALENCE_MODEL_DIR=str(tmp_path / "none"), TMPDIR=str(tmp_path))
    assert printed.startswith("error: ")
    assert "VALENCE_MODEL_DIR" in printed
    assert "\n" not in printed
    assert list(tmp_path.iterdir()) == []
