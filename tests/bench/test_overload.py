"""The open-loop client, and the overload as a user runs it, for seconds."""

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from pathlib import Path

import pytest

from bench.client import request_bytes
from bench.open_loop import Phase, drive_open, due_times
from bench.overload import cold_batches
from bench.promises import Promise
from tests.bench.measurement import measured


class Answers(BaseHTTPRequestHandler):
    """429 for "no"; "wait" is answered when the test says so."""

    protocol_version = "HTTP/1.1"
    released: threading.Event

    def do_POST(self) -> None:
        """Answer by the text."""
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"][0]
        if text == "wait":
            self.released.wait(30)
        self.send_response(429 if text == "no" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[int, threading.Event]]:
    """Port, and the event that releases what waits."""
    released = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Answers,), {"released": released})) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening.server_port, released
        released.set()
        listening.shutdown()
        thread.join()


def test_requests_are_due_at_their_rate_in_their_phase() -> None:
    """At random, but as many as the rate says, and in order."""
    due = due_times((Phase("slow", 10, {"hit": 20}), Phase("fast", 10, {"hit": 20, "cold": 200})), seed=1)
    assert due == sorted(due)
    assert 150 < sum(phase == "slow" for _, _, phase in due) < 250
    assert 1800 < sum(kind == "cold" for _, kind, _ in due) < 2200
    assert all((at >= 10) == (phase == "fast") for at, _, phase in due)


def test_open_loop_does_not_wait_for_answers(server: tuple[int, threading.Event]) -> None:
    """While one kind is stuck the other goes on; what finds no connection is counted, and so is what never came."""
    port, released = server
    phases = (Phase("one", 0.5, {"stuck": 40, "refused": 40}),)
    streams = {"stuck": cycle([request_bytes("wait")]), "refused": cycle([request_bytes("no")])}
    run = drive_open(port, streams, phases, connections=8, drain_seconds=0.1, sample=lambda: 1.0)
    assert run.unanswered == 8
    assert run.unsent["one"] > 0
    assert len(run.during("one", "refused", 429)) > 0
    assert run.samples
    released.set()


def test_cold_batches_never_repeat_a_text() -> None:
    """And each has as many as told."""
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2])["text"] for request in islice(cold_batches(3), 300)]
    assert {len(body) for body in bodies} == {3}
    assert len({text for body in bodies for text in body}) == 900


def test_what_was_not_found_keeps_no_promise() -> None:
    """No refusal at all is not a fast refusal."""
    assert not Promise("x", math.nan, "<=", 1.0).kept
    assert not Promise("x", math.nan, ">=", 1.0).kept
    assert Promise("x", 1.0, "<=", 1.0).kept


def test_overload_refuses_and_says_what_it_found(tmp_path: Path) -> None:
    """Hits are answered all the while; how fast is a matter of the machine."""
    report = measured(tmp_path, "overload", "--seconds", "3", "--capacity-seconds", "1", last="hits during overload")
    found = report["figures"]
    assert found["other_answers"] == found["hits_refused"] == found["unanswered"] == 0
    assert found["hit_ms_p99_overload"] > 0
