"""The bounded queue in front of the model: idle threads start at once, waiting texts may leave together.

No text ever waits for company. While all threads are busy texts gather, and a free thread takes the oldest one and as
many others as fit `max_batch_tokens` beside it (0: each alone): those of nearest length for an engine that pads, the
next oldest for one that does not. Texts whose requests have all gone are dropped before inference, not after.
"""

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil

from app.errors import NotReady, Overloaded
from app.metrics import (
    BATCH_TEXTS,
    BATCH_TOKENS,
    INFERENCE_SECONDS,
    INFERENCE_TOKENS,
    PADDING_TOKENS,
    QUEUE_SECONDS,
)
from app.model import Prediction
from app.spans import Trace
from app.tracing import Tracing

WINDOW = 64
"""How far behind the oldest text to look for company of near length."""
ASSUMED_TOKENS_PER_SECOND = 5_000.0
"""For `Retry-After` before the first inference; measured from then on."""
NICENESS = 10
"""Of the inference threads, so that the event loop need not wait for its turn while they keep all cores busy: hits and
refusals take microseconds, and an inference loses no more than these."""
STOPPED = "this process has stopped"


class Job:
    """One text on its way through the model. All of it belongs to the event loop, but for `ids` and `started`."""

    __slots__ = ("abandoned", "ids", "queued_at", "started")

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids
        self.started = False
        self.abandoned = False
        """Nobody waits for it: it leaves the queue instead of being scored."""
        self.queued_at = 0.0
        """When it was handed in, by `time.perf_counter`."""

    def traces(self) -> Sequence[tuple[Trace, bool]]:
        """The sampled requests that wait for it, and whether each was the one that handed it in."""
        return ()

    def finish(self, outcome: Prediction | Exception) -> None:
        """Called once, on the event loop, unless the job was abandoned before it started."""
        raise NotImplementedError


class Batcher:
    """Runs jobs on `threads` threads of its own, which take their work themselves.

    A thread that had to ask the event loop for its next text would stand idle for the hop there and back, a tenth of a
    short inference. Make it on the event loop on which jobs are submitted and their futures live.
    """

    def __init__(
        self,
        run: Callable[[list[list[int]]], list[Prediction]],
        *,
        threads: int,
        pads: bool,
        max_batch_tokens: int,
        max_queue_tokens: int,
        tracing: Tracing | None = None,
    ) -> None:
        self._run = run
        self._tracing = tracing
        self._pads = pads
        self._max_batch_tokens = max_batch_tokens
        self._max_queue_tokens = max_queue_tokens
        self._loop = asyncio.get_running_loop()
        self._tokens_per_second = ASSUMED_TOKENS_PER_SECOND
        self._changed = threading.Condition()  # guards the three below
        self._waiting: deque[Job] = deque()
        self._waiting_tokens = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting_tokens(self) -> int:
        """Tokens in the queue."""
        return self._waiting_tokens

    @property
    def waiting_texts(self) -> int:
        """Texts in the queue."""
        return len(self._waiting)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue all of the jobs or none. Raises Overloaded when they would not fit, NotReady after the end."""
        tokens = 0
        now = time.perf_counter()
        for job in jobs:
            tokens += len(job.ids)
            job.queued_at = now
        with self._changed:
            if self._closed:
                raise NotReady(STOPPED)
            if (refusal := self.refusal(tokens)) is not None:
                raise refusal
            self._waiting.extend(jobs)
            self._waiting_tokens += tokens
            self._changed.notify(len(jobs))

    def refusal(self, tokens: int) -> Overloaded | None:
        """What to say to so many more tokens; None when there is room for them now."""
        waiting = self._waiting_tokens
        # An empty queue takes any request: one that is larger than the bound could otherwise never be served.
        if waiting == 0 or waiting + tokens <= self._max_queue_tokens:
            return None
        seconds = ceil(waiting / (self._tokens_per_second * len(self._threads)))
        return Overloaded(
            f"{waiting} tokens are waiting, {tokens} more would exceed the limit of {self._max_queue_tokens} "
            "(VALENCE_MAX_QUEUE_TOKENS)",
            headers={"Retry-After": str(max(1, seconds))},
        )

    def close(self) -> None:
        """Drop what waits and let running inferences end."""
        with self._changed:
            self._closed = True
            dropped, self._waiting, self._waiting_tokens = self._waiting, deque(), 0
            self._changed.notify_all()
        for job in dropped:
            job.finish(NotReady(STOPPED))
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        """One thread: batch after batch, until the end."""
        if sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while batch := self._next():
            began = time.perf_counter()
            outcome: list[Prediction] | Exception
            try:
                outcome = self._run([job.ids for job in batch])
            except Exception as exc:  # it belongs to those who wait for this batch
                outcome = exc
            self._loop.call_soon_threadsafe(self._finished, batch, outcome, began, time.perf_counter())

    def _next(self) -> list[Job]:
        """In a thread: wait for a batch; empty at the end."""
        with self._changed:
            while not self._closed:
                if batch := self._take():
                    for job in batch:
                        job.started = True
                    return batch
                self._changed.wait()
        return []

    def _take(self) -> list[Job]:
        """The oldest live job and those that fit beside it."""
        window: list[Job] = []
        while self._waiting and len(window) < WINDOW:
            job = self._waiting.popleft()
            if job.abandoned:
                self._waiting_tokens -= len(job.ids)
            else:
                window.append(job)
                if not self._max_batch_tokens:
                    break
        if not window:
            return []
        oldest = len(window[0].ids)
        batch: list[Job] = []
        for job in sorted(window, key=lambda job: abs(len(job.ids) - oldest)) if self._pads else window:
            batch.append(job)
            if len(batch) > 1 and self._computed(batch) > self._max_batch_tokens:
                batch.pop()
                break
        chosen = set(map(id, batch))
        self._waiting.extendleft(job for job in reversed(window) if id(job) not in chosen)
        self._waiting_tokens -= sum(len(job.ids) for job in batch)
        return batch

    def _computed(self, batch: Sequence[Job]) -> int:
        """Tokens that the engine computes for a batch, padding included."""
        lengths = [len(job.ids) for job in batch]
        return max(lengths) * len(lengths) if self._pads else sum(lengths)

    def _finished(self, batch: list[Job], outcome: list[Prediction] | Exception, began: float, ended: float) -> None:
        """Back on the event loop: hand out the results."""
        computed = self._computed(batch)
        if self._tracing is not None:
            self._tracing.batch(batch, computed, began, ended, outcome if isinstance(outcome, Exception) else None)
        if isinstance(outcome, Exception):
            for job in batch:
                job.finish(outcome)
            return
        tokens = 0
        for job, prediction in zip(batch, outcome, strict=True):
            job.finish(prediction)
            QUEUE_SECONDS.observe(began - job.queued_at)
            tokens += len(job.ids)
        seconds = ended - began
        self._tokens_per_second += 0.1 * (tokens / seconds - self._tokens_per_second)
        INFERENCE_SECONDS.observe(seconds)
        BATCH_TEXTS.observe(len(batch))
        BATCH_TOKENS.observe(computed)
        INFERENCE_TOKENS.count += tokens
        PADDING_TOKENS.count += computed - tokens
