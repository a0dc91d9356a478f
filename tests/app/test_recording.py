"""Recording on the event loop: the same figures as prometheus-client's own calls, with less work."""

import asyncio
import random
from threading import Thread

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

from app.metrics import STAGE_BUCKETS, UpToDate
from app.recording import LoopCounter, LoopHistogram, Recorder


def text(collector: Collector) -> str:
    """What a scrape would show, but for the time of making."""
    registry = CollectorRegistry()
    registry.register(collector)
    return "\n".join(line for line in generate_latest(registry).decode().splitlines() if "_created" not in line)


def test_histogram_equals_prometheus_clients_own() -> None:
    """A thousand values, bounds among them, fall into the same buckets, poured at any moment."""
    theirs = Histogram("seconds", "x", buckets=STAGE_BUCKETS, registry=None)
    behind = Histogram("seconds", "x", buckets=STAGE_BUCKETS, registry=None)
    ours = LoopHistogram(behind, STAGE_BUCKETS)
    # In steps of a power of two, so that both sums are exact.
    values = [random.getrandbits(20) / 2**16 for _ in range(1_000)] + [float(bound) for bound in STAGE_BUCKETS[-7:]]
    for number, value in enumerate([*values, 0.0, 99.0, 99.0]):
        theirs.observe(value)
        ours.observe(value) if number % 3 else ours.observe_times(value, 1)
        if not number % 100:
            ours.pour()
    ours.pour()
    ours.pour()
    assert text(behind) == text(theirs)


def test_same_value_several_times() -> None:
    """As many as told, in the count and in the sum."""
    behind = Histogram("tokens", "x", buckets=(4, 8), registry=None)
    ours = LoopHistogram(behind, (4, 8))
    ours.observe_times(8, 5)
    ours.pour()
    assert 'tokens_bucket{le="8.0"} 5.0' in text(behind)
    assert 'tokens_bucket{le="4.0"} 0.0' in text(behind)
    assert "tokens_sum 40.0" in text(behind)


def test_scrape_sees_what_was_recorded_a_moment_ago() -> None:
    """A scrape in another thread asks the event loop first: no interval lies between an event and its metric."""
    behind = Counter("texts", "x", registry=None)
    gauge = Gauge("waiting", "x", registry=None)

    async def scenario() -> tuple[str, str]:
        recorder, counter = Recorder(), LoopCounter(behind)
        recorder.watch(gauge, lambda: counter.count + 7)
        prepared: list[None] = []
        recorder.before_pouring(lambda: prepared.append(None))
        recorder.start()
        counter.count += 3
        seen = await asyncio.to_thread(text, UpToDate(behind, recorder.pour_from_thread))
        recorder.stop()
        assert prepared
        return seen, text(gauge)

    counted, waiting = asyncio.run(scenario())
    assert "texts_total 3.0" in counted
    assert "waiting 7.0" in waiting


def test_scrape_of_a_busy_loop_is_not_held_up() -> None:
    """A loop that does not answer delays a scrape for a moment only, and nothing is lost by it."""
    behind = Counter("texts", "x", registry=None)

    async def scenario() -> None:
        recorder, counter = Recorder(), LoopCounter(behind)
        recorder.start()
        counter.count += 1
        scrape = Thread(target=recorder.pour_from_thread)
        scrape.start()
        scrape.join()  # the loop itself stands still here
        recorder.stop()

    asyncio.run(scenario())
    assert "texts_total 1.0" in text(behind)


def test_scrape_after_the_end_tells_the_last_figures() -> None:
    """What was recorded before the stop has been poured; a closed loop is no error."""
    behind = Counter("texts", "x", registry=None)
    recorder = Recorder()

    async def scenario() -> None:
        recorder.start()
        LoopCounter(behind).count += 2
        recorder.stop()

    asyncio.run(scenario())
    recorder.pour_from_thread()
    assert "texts_total 2.0" in text(behind)
