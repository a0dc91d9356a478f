"""Users for exploring by hand: `make locust` for the web page, `make locust-headless` for a report.

    locust -f load/locust/locustfile.py --host http://127.0.0.1:8000

The mix is that of load.js: CACHE_RATE (0.95) of the predictions repeat one of 100 texts, the others hold a text never
sent before. A user makes about one request a second, so users read as requests a second until the server falls behind.
API_KEY is sent with each prediction, for a service that asks for keys.
"""

import json
import os
import random
import sys
import urllib.request
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


class Reader(FastHttpUser):
    """Someone whose page asks for predictions: most of what it asks was asked before. Eight of ten users."""

    weight = 8
    wait_time = constant_throughput(1)

    @task
    def predict(self) -> None:
        """One text; an answer counts only with its prediction in it."""
        texts = load_texts()
        warm = chance.random() < CACHE_RATE
        text = chance.choice(texts["warm"]) if warm else cold_text(chance.choice(texts["cold"]), uuid4().hex[:12])
        name = "/predict (warm)" if warm else "/predict (cold)"
        body = json.dumps({"text": [text]})
        with self.client.post("/predict", data=body, headers=HEADERS, name=name, catch_response=True) as answer:
            if answer.status_code == HTTPStatus.OK and len(answer.json()["predictions"]) != 1:
                answer.failure("not one prediction for one text")


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
        body = chance.choice(BAD_BODIES)
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
    url = f"{environment.host.rstrip('/')}/predict"
    body = json.dumps({"text": load_texts()["warm"][:1]}).encode()
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
