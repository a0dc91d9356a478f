"""Users for exploring by hand: `make locust` for the web page, `make locust-headless` for a report.

    locust -f load/locust/locustfile.py --host http://127.0.0.1:8000

The mix is that of load.js: CACHE_RATE (0.95) of the predictions repeat one of 100 texts, the others hold a text never
sent before; a tabular model is sent rows from the ranges of its columns instead. A user makes about one request a
second, so users read as requests a second until the server falls behind.
API_KEY is sent with each prediction, for a service that asks for keys.
"""

import json
import os
import random
import sys
import urllib.request
from functools import cache
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from locust import FastHttpUser, constant_throughput, events, task

from load.texts import cold_text, load_texts

CACHE_RATE = float(os.environ.get("CACHE_RATE", "0.95"))
API_KEY = os.environ.get("API_KEY", "")
HEADERS = {"Content-Type": "application/json", **({"X-API-Key": API_KEY} if API_KEY else {})}
BAD_BODIES = ('{"text": [', '{"text": []}', '{"text": "no list"}', '{"text": [" "]}', '{"text": [1]}', "[]", "")
PROBE_SECONDS = 10

chance = random.Random()  # noqa: S311 - draws texts, guards nothing


Row = dict[str, float]


class Table:
    """What is sent to a tabular model, whose columns these are, as /model/info has them."""

    def __init__(self, columns: list[dict[str, Any]]) -> None:
        self._columns = columns
        self.warm = [self.row() for _ in load_texts()["warm"]]

    def row(self) -> Row:
        """One from the ranges; of numbers with a fraction, never the same twice."""
        return {column["name"]: self._value(column) for column in self._columns}

    def _value(self, column: dict[str, Any]) -> float:
        low, high = column["minimum"], column["maximum"]
        return chance.randint(int(low), int(high)) if column["type"] == "integer" else chance.uniform(low, high)

    def bad_bodies(self) -> list[str]:
        """Rows that lack a column, have one too many, or hold something that is no number."""
        row, name = self.row(), self._columns[0]["name"]
        lacking = {key: value for key, value in row.items() if key != name}
        wrong = [lacking, {**row, f"{name} ": 1}, *({**row, name: value} for value in ("high", None, True))]
        return [json.dumps({"rows": [row, bad]}) for bad in wrong] + ['{"rows": []}', '{"features": [[]]}', "[]", ""]


@cache
def table_at(host: str) -> Table | None:
    """What the model there takes; None where it takes texts, or does not tell."""
    try:
        request = urllib.request.Request(f"{host}/model/info", headers=HEADERS)  # noqa: S310 - the user named it
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS) as answer:  # noqa: S310
            info = json.load(answer)
    except (OSError, ValueError):
        return None
    return Table(info["features"]) if str(info.get("task")).startswith("tabular-") else None


class Reader(FastHttpUser):
    """Someone whose page asks for predictions: most of what it asks was asked before. Eight of ten users."""

    weight = 8
    wait_time = constant_throughput(1)

    @task
    def predict(self) -> None:
        """One text, or one row; an answer counts only with its prediction in it."""
        warm = chance.random() < CACHE_RATE
        name = "/predict (warm)" if warm else "/predict (cold)"
        table = table_at(self.host)
        body = json.dumps({"text": [a_text(warm=warm)]} if table is None else {"rows": [a_row(table, warm=warm)]})
        with self.client.post("/predict", data=body, headers=HEADERS, name=name, catch_response=True) as answer:
            if answer.status_code == HTTPStatus.OK and len(answer.json()["predictions"]) != 1:
                answer.failure("not one prediction for one text")


def a_text(*, warm: bool) -> str:
    """A known one, or one never sent before."""
    texts = load_texts()
    return chance.choice(texts["warm"]) if warm else cold_text(chance.choice(texts["cold"]), uuid4().hex[:12])


def a_row(table: Table, *, warm: bool) -> Row:
    """The same of rows."""
    return chance.choice(table.warm) if warm else table.row()


class Probe(FastHttpUser):
    """A monitor that looks whether the service lives and is ready. One of ten users."""

    weight = 1
    wait_time = constant_throughput(1)

    @task
    def health(self) -> None:
        """Is it alive."""
        self.client.get("/health")

    @task
    def readyz(self) -> None:
        """Is it ready."""
        self.client.get("/readyz")


class BadClient(FastHttpUser):
    """A broken client: whatever it sends must be refused with a 4xx; anything else is a failure. One of ten users."""

    weight = 1
    wait_time = constant_throughput(1)

    @task
    def corrupt(self) -> None:
        """A body that is no request."""
        table = table_at(self.host)
        body = chance.choice(BAD_BODIES if table is None else table.bad_bodies())
        with self.client.post(
            "/predict", data=body, headers=HEADERS, name="/predict (corrupt)", catch_response=True
        ) as answer:
            if answer.status_code // 100 == 4:  # noqa: PLR2004
                answer.success()
            else:
                answer.failure(f"a corrupt body was answered with {answer.status_code}")


@events.init.add_listener
def check_host(environment: Any, **_: Any) -> None:
    """End at once when nobody answers at the host given on the command line."""
    if not environment.host:
        if environment.parsed_options.headless:
            sys.exit("error: --host is missing, such as --host http://127.0.0.1:8000")
        return  # the web page asks for it
    host = environment.host.rstrip("/")
    url, table = f"{host}/predict", table_at(host)
    body = json.dumps({"text": load_texts()["warm"][:1]} if table is None else {"rows": table.warm[:1]}).encode()
    try:
        request = urllib.request.Request(url, body, HEADERS)  # noqa: S310 - the user named it
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):  # noqa: S310
            return
    except (OSError, ValueError) as exc:  # URLError and HTTPError are OSErrors
        sys.exit(f"error: --host {environment.host}: POST /predict: {exc}")


@events.test_start.add_listener
def strip_host(environment: Any, **_: Any) -> None:
    """Let `http://host/` be `http://host`, on workers too: each path begins with a slash of its own."""
    if environment.host:
        environment.host = environment.host.rstrip("/")
