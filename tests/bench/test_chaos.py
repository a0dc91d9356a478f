"""One fault of each kind under traffic, and whether a loss, a late answer and a wrong one are seen."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.chaos.__main__ import Row
from bench.chaos.traffic import Counts, Traffic
from bench.questions import Questions
from tests.conftest import ROOT, Service, until


def test_faults_cost_what_is_promised(tmp_path: Path) -> None:
    """Of two, here: the only worker is killed, and Redis is."""
    file = tmp_path / "chaos.json"
    command = [
        sys.executable,
        "-m",
        "bench.chaos",
        "--seconds",
        "0.5",
        "--only",
        "only worker",
        "Redis killed",
        "--json",
    ]
    done = subprocess.run([*command, file], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    rows = json.loads(file.read_text())["faults"]
    assert [row["fault"] for row in rows] == ["kill -9 of the only worker", "Redis killed"], done.stderr
    assert all(row["counts"]["sent"] > 10 and row["counts"]["wrong"] == 0 for row in rows)
    assert rows[1]["counts"]["lost"] == 0
    assert done.stdout.count(" kept ") + done.stdout.count(" BROKEN ") == 2
    assert done.returncode == (0 if done.stdout.count(" kept ") == 2 else 1)


@pytest.fixture
def unreliable() -> Iterator[int]:
    """A server whose answers are in turn refused, cut off and wrong; gives its port."""
    turns = iter(range(1_000_000))

    class Handler(BaseHTTPRequestHandler):
        """One request."""

        def do_POST(self) -> None:
            """Whatever it asks."""
            turn = next(turns) % 3
            if turn == 1:
                return
            self.send_response(503 if turn == 0 else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_traffic_counts_what_was_lost_late_and_wrong(service: Service, unreliable: int) -> None:
    """Each apart: what was lost is neither late nor wrong."""
    questions = Questions(int(service.url.rpartition(":")[2]), texts=5)
    with Traffic(lambda: unreliable, questions, promised_seconds=0) as traffic:
        until(lambda: traffic.counts.sent > 60, "there was traffic")
    counts = traffic.counts
    assert counts.lost + counts.wrong == counts.sent
    assert counts.late == counts.wrong > 15
    assert counts.lost > 30
    assert counts.first_loss


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        (Counts(sent=9, lost=2), True),
        (Counts(sent=9, lost=3), False),
        (Counts(sent=9, late=1), False),
        (Counts(sent=9, wrong=1), False),
        (Counts(), False),
    ],
)
def test_promise_is_kept_within_what_may_be_lost(counts: Counts, *, kept: bool) -> None:
    """And only if anything was asked."""
    row = Row("x", 2, 1.0, counts)
    assert row.kept == kept
    assert ("kept" in row.line()) == kept
