"""Five hundred clients ask for one unknown text at once, over real HTTP: the model reads it once."""

import time

import pytest

from bench.client import drive, request_bytes
from bench.sides import Figures, Side, find_machine, read_metrics, running, service
from tests.conftest import ROOT

CLIENTS = 500
LONG_TEXT = " ".join(f"Everybody wants to know what number {number} is worth." for number in range(60))
"""Fills the model: its inference takes long enough for all to come while it runs."""


def counts(side: Side, texts: int) -> Figures:
    """The service's counts, once they hold so many texts: the service adds them to its metrics now and then."""
    deadline = time.monotonic() + 30
    while True:
        found = read_metrics(side)
        if sum(found.get(f"texts_from_{source}", 0) for source in ("memory", "coalesced", "model")) >= texts:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"the metrics never counted {texts} texts: {found}")
        time.sleep(0.05)


def test_stampede_costs_one_inference() -> None:
    """By the service's own metrics: one text from the model, one call of it, all others waited or found it."""
    side = service(ROOT / "models" / "distilbert-sst2-mini", log_level="warning")
    with running(find_machine(), side) as (port, _):
        run = drive(port, iter([request_bytes(LONG_TEXT)] * CLIENTS), clients=CLIENTS)
        found = counts(side, CLIENTS)
    assert (len(run.latencies), run.failures) == (CLIENTS, 0)
    assert found["texts_from_model"] == 1
    assert found["batch_texts_count"] == 1
    assert found["texts_from_coalesced"] + found["texts_from_memory"] == CLIENTS - 1
    assert found["texts_from_coalesced"] > 0
