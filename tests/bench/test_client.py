"""The benchmark's own HTTP client, against a server that answers as told."""

import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice

import pytest

from bench.client import ClientError, cold_requests, drive, mixed_requests, request_bytes, warm_requests


class Answers(BaseHTTPRequestHandler):
    """Answers by the text that it is sent; notes the texts."""

    protocol_version = "HTTP/1.1"
    texts: list[str]

    def do_POST(self) -> None:
        """200, 500 for "fail", an answer in pieces for "pieces", none at all for "close"."""
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"][0]
        self.texts.append(text)
        if text == "close":
            self.close_connection = True
            return
        self.send_response(500 if text == "fail" else 200)
        if text != "no length":
            self.send_header("Content-Length", "100000" if text == "pieces" else "2")
        self.end_headers()
        if text == "pieces":
            for _ in range(100):
                self.wfile.write(b"x" * 1000)
                self.wfile.flush()
        else:
            self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[int, list[str]]]:
    """Port, and the texts that came."""
    texts: list[str] = []
    handler = type("Handler", (Answers,), {"texts": texts})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening.server_port, texts
        listening.shutdown()
        thread.join()


def test_every_request_is_sent_once_and_answered(server: tuple[int, list[str]]) -> None:
    """A finite stream is sent to its end, over more connections than one."""
    port, texts = server
    run = drive(port, iter([request_bytes(str(number)) for number in range(50)]), clients=4)
    assert sorted(texts, key=int) == [str(number) for number in range(50)]
    assert (run.completed, len(run.latencies), run.failures) == (50, 50, 0)


def test_deadline_ends_an_endless_stream(server: tuple[int, list[str]]) -> None:
    """After it nothing new is sent, and what is under way is waited for."""
    port, texts = server
    run = drive(port, warm_requests(["a", "b"]), clients=3, seconds=0.2)
    assert run.seconds >= 0.2
    assert 0 < run.completed <= len(run.latencies) == len(texts) <= run.completed + 3


def test_other_statuses_are_failures(server: tuple[int, list[str]]) -> None:
    """They are counted, not hidden among the good answers."""
    run = drive(server[0], iter([request_bytes("fail"), request_bytes("good")]), clients=1)
    assert (run.completed, run.failures) == (2, 1)


def test_answer_in_pieces_is_one_answer(server: tuple[int, list[str]]) -> None:
    """The next request waits until the last byte has come."""
    run = drive(server[0], iter([request_bytes("pieces"), request_bytes("good")]), clients=1)
    assert (run.completed, run.failures) == (2, 0)


@pytest.mark.parametrize(("text", "message"), [("close", "closed"), ("no length", "Content-Length")])
def test_what_it_cannot_measure_stops_it(server: tuple[int, list[str]], text: str, message: str) -> None:
    """A benchmark that goes on after this would measure something else."""
    with pytest.raises(ClientError, match=message):
        drive(server[0], iter([request_bytes(text)]), clients=1)


def test_cold_requests_never_repeat() -> None:
    """Not within one stream and not across streams whose numbers lie apart; each body is as long as it says."""
    streams = (cold_requests(["one", "two %s"], 0), cold_requests(["one", "two %s"], 1_000_000))
    requests = [request for stream in streams for request in islice(stream, 500)]
    assert len(set(requests)) == 1000
    for request in requests[:2]:
        head, _, body = request.partition(b"\r\n\r\n")
        declared = re.search(rb"content-length: (\d+)", head)
        assert declared is not None
        assert int(declared[1]) == len(body)
        json.loads(body)


def test_request_for_another_server_has_its_path_and_body() -> None:
    """Cold ones, too."""
    request = partial(request_bytes, path="/classify", body=lambda text: {"input": [text]})
    head, _, body = next(cold_requests(["one"], 7, request)).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /classify HTTP/1.1\r\n")
    assert json.loads(body) == {"input": ["one Ticket 0000000007."]}
    assert f"content-length: {len(body)}".encode() in head


def test_mix_has_its_share_of_warm_requests() -> None:
    """95 of 100, give or take."""
    mixed = list(islice(mixed_requests(iter([b"warm"] * 2000), iter([b"cold"] * 2000), 0.95, seed=1), 2000))
    assert 0.93 < mixed.count(b"warm") / 2000 < 0.97
