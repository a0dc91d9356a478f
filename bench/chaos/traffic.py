"""Clients that ask all the time, each on a connection that it keeps, and how often they were failed."""

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Self

from bench.questions import OK, Questions, post

CLIENTS = 8
PAUSE_SECONDS = 0.005
"""Between two requests of a client: the fault is to be seen, not the limit of two cores."""
CLIENT_SECONDS = 60
"""A client gives up after this."""
SEED = 20_261_121


@dataclass
class Counts:
    """What the clients saw."""

    sent: int = 0
    lost: int = 0
    """No answer, or another than 200."""
    late: int = 0
    """Answered later than promised."""
    wrong: int = 0
    """Answered 200 with anything but the right scores."""
    slowest_ms: float = 0.0
    first_loss: str = ""


class Traffic:
    """`CLIENTS` that ask while the `with` block lasts; `port` is asked for anew with each connection."""

    def __init__(self, port: Callable[[], int], questions: Questions, promised_seconds: float) -> None:
        self.counts = Counts()
        self._port = port
        self._questions = questions
        self._promised_seconds = promised_seconds
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(CLIENT_SECONDS)

    def _ask(self, number: int) -> None:
        source = random.Random(SEED + number)  # noqa: S311 - repeatable, guards nothing
        connection: HTTPConnection | None = None
        while not self._end.wait(PAUSE_SECONDS):
            texts = self._questions.draw(source)
            connection = connection or HTTPConnection("127.0.0.1", self._port(), timeout=CLIENT_SECONDS)
            began = time.perf_counter()
            try:
                status, body = post(connection, json.dumps({"text": texts}).encode())
            except (OSError, HTTPException) as exc:
                loss, right = repr(exc), True
            else:
                loss = "" if status == OK else f"{status} {body[:200]!r}"
                right = status != OK or self._questions.is_right(texts, body)
            self._count(time.perf_counter() - began, loss, right=right)
            if loss or connection.sock is None:  # the service has asked for a new one
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _count(self, seconds: float, loss: str, *, right: bool) -> None:
        with self._lock:
            counts = self.counts
            counts.sent += 1
            counts.lost += bool(loss)
            counts.first_loss = counts.first_loss or loss
            counts.wrong += not right
            counts.late += not loss and seconds > self._promised_seconds
            counts.slowest_ms = max(counts.slowest_ms, seconds * 1000)
