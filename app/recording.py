"""Recording on the event loop at a tenth of what prometheus-client takes for it.

A cache hit costs 14 to 40 microseconds, and prometheus-client's own calls for it would take four: each value has a
lock, or a place in a file that several workers share. What is recorded here are plain integers of the event loop's own,
poured into the real metrics when somebody looks at them, and once a second besides.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from threading import Event

from prometheus_client import Counter, Gauge, Histogram

POUR_SECONDS = 1.0
"""How far metrics may lag behind where no scrape can ask for them: with several workers."""
SCRAPE_SECONDS = 0.2
"""How long a scrape waits for a busy event loop before it tells what it has."""

_accumulators: list["LoopCounter | LoopHistogram"] = []


class LoopCounter:
    """A counter to whose `count` the event loop adds."""

    __slots__ = ("_counter", "count")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self.count = 0
        _accumulators.append(self)

    def pour(self) -> None:
        """Hand on what has been counted."""
        if self.count:
            self._counter.inc(self.count)
            self.count = 0


class LoopHistogram:
    """A histogram that the event loop observes."""

    __slots__ = ("_bounds", "_counts", "_histogram", "_pending", "_sum")

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self._histogram = histogram
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._pending = False
        self._sum = 0.0
        _accumulators.append(self)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value
        self._pending = True

    def observe_times(self, value: float, times: int) -> None:
        """Count the same value several times."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times
        self._pending = True

    def observe_with_exemplar(self, value: float, exemplar: dict[str, str]) -> None:
        """Count one value that can be told apart, at once and at prometheus-client's cost."""
        self._histogram.observe(value, exemplar)

    def pour(self) -> None:
        """Hand on what has been observed.

        prometheus-client has no call for many observations at once; `Histogram.observe` does the same to the same two
        attributes, one value at a time.
        """
        if not self._pending:
            return
        for number, (count, bucket) in enumerate(zip(self._counts, self._histogram._buckets, strict=True)):  # noqa: SLF001
            if count:
                bucket.inc(count)
                self._counts[number] = 0
        self._histogram._sum.inc(self._sum)  # noqa: SLF001
        self._sum, self._pending = 0.0, False


class Recorder:
    """Keeps the metrics of one worker up to date, from `start` to `stop`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gauges: list[tuple[Gauge, Callable[[], float]]] = []
        self._pourers: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, gauge: Gauge, read: Callable[[], float]) -> None:
        """Set the gauge to what `read` gives, whenever somebody looks."""
        self._gauges.append((gauge, read))

    def before_pouring(self, prepare: Callable[[], None]) -> None:
        """Call `prepare` each time, so that it can record what it has put off."""
        self._pourers.append(prepare)

    def pour(self) -> None:
        """Bring every metric up to date; on the event loop only."""
        for prepare in self._pourers:
            prepare()
        for accumulator in _accumulators:
            accumulator.pour()
        for gauge, read in self._gauges:
            gauge.set(read())

    def pour_from_thread(self) -> None:
        """The same from another thread; waits for the event loop, but not long."""
        if self._loop is None:
            return
        done = Event()

        def pour() -> None:
            self.pour()
            done.set()

        try:
            self._loop.call_soon_threadsafe(pour)
        except RuntimeError:  # the loop is closed: what there was to tell has been poured
            return
        done.wait(SCRAPE_SECONDS)

    def start(self) -> None:
        """Pour once a second from now on; on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(POUR_SECONDS, self._tick)

    def stop(self) -> None:
        """Pour for the last time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.pour()

    def _tick(self) -> None:
        self.pour()
        self.start()
