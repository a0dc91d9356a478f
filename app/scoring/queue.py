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
from dataclasses import dataclass, field
from math import ceil

from app.errors import NotReady, Overloaded
from app.model.classifier import Prediction
from app.model.tokenizer import Tokens
from app.scoring.memory import Answer
from app.telemetry.metrics import (
    BATCH_TEXTS,
    BATCH_TOKENS,
    INFERENCE_SECONDS,
    INFERENCE_TOKENS,
    PADDING_TOKENS,
    QUEUE_SECONDS,
    QUEUE_TEXTS,
    QUEUE_TOKENS,
)
from app.telemetry.tracing import Span, batch_span, step

WINDOW = 64
"""How far behind the oldest text to look for company of near length."""
ASSUMED_TOKENS_PER_SECOND = 5_000.0
"""For `Retry-After` before the first inference; measured from then on."""
NICENESS = 10
"""Of the inference threads, so that the event loop need not wait for its turn while they keep all cores busy: hits and
refusals take microseconds, and an inference loses no more than these."""
NO_TOKENS = Tokens([], truncated=False, unknown=0)
STOPPED = "this process has stopped"


@dataclass(slots=True, eq=False)
class Job:
    """One text on its way through the model. All of it belongs to the event loop, but for `tokens` and `started`."""

    future: asyncio.Future[Answer]
    requests: int = 0
    """How many wait for it; a job for which nobody waits leaves the queue instead of being scored."""
    spans: list[tuple[Span, float]] = field(default_factory=list)
    """The sampled ones among these requests, and when each asked (`time.perf_counter`)."""
    tokens: Tokens = NO_TOKENS
    queued_at: float = 0.0
    """When it was handed in, by `time.perf_counter`."""
    started: bool = False


class InferenceQueue:
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
        window_tokens: int,
        max_batch_tokens: int,
        max_queue_tokens: int,
    ) -> None:
        self._run = run
        self._pads = pads
        self._window_tokens = window_tokens
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

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue all of the jobs or none. Raises Overloaded when they would not fit, NotReady after the end."""
        tokens = 0
        now = time.perf_counter()
        for job in jobs:
            tokens += len(job.tokens.ids)
            job.queued_at = now
        with self._changed:
            if self._closed:
                raise NotReady(STOPPED)
            self.check_room(tokens)
            self._waiting.extend(jobs)
            self._waiting_tokens += tokens
            self._changed.notify(len(jobs))
        QUEUE_TEXTS.inc(len(jobs))
        QUEUE_TOKENS.inc(tokens)

    def check_room(self, tokens: int) -> None:
        """Raises Overloaded when there is no room for so many more tokens now."""
        waiting = self._waiting_tokens
        # An empty queue takes any request: one that is larger than the bound could otherwise never be served.
        if waiting == 0 or waiting + tokens <= self._max_queue_tokens:
            return
        seconds = ceil(waiting / (self._tokens_per_second * len(self._threads)))
        raise Overloaded(
            f"{waiting} tokens are waiting, {tokens} more would exceed the limit of {self._max_queue_tokens} "
            "(VALENCE_MAX_QUEUE_TOKENS)",
            headers={"Retry-After": str(max(1, seconds))},
        )

    def stop(self) -> None:
        """Drop what waits; inferences that run go on, and their results are still handed out."""
        with self._changed:
            self._closed = True
            dropped, self._waiting = self._waiting, deque()
            QUEUE_TEXTS.inc(-len(dropped))
            QUEUE_TOKENS.inc(-self._waiting_tokens)
            self._waiting_tokens = 0
            self._changed.notify_all()
        for job in dropped:
            if not job.future.done():
                job.future.set_exception(NotReady(STOPPED))

    def join(self) -> None:
        """Wait, in any thread, until the inferences that ran at the end are over."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        """One thread: batch after batch, until the end."""
        lower_priority()
        while batch := self._next():
            began = time.perf_counter()
            outcome: list[Prediction] | Exception
            try:
                outcome = self._run([job.tokens.ids for job in batch])
            except Exception as exc:  # it belongs to those who wait for this batch
                outcome = exc
            self._loop.call_soon_threadsafe(self._finished, batch, outcome, began, time.perf_counter())

    def _next(self) -> list[Job]:
        """In a thread: wait for a batch; empty at the end."""
        with self._changed:
            while not self._closed:
                if self._waiting and (batch := self._take()):
                    for job in batch:
                        job.started = True
                    return batch
                self._changed.wait()
        return []

    def _take(self) -> list[Job]:
        """The oldest job for which somebody waits, and those that fit beside it."""
        window: list[Job] = []
        gone: list[Job] = []
        while self._waiting and len(window) < WINDOW:
            job = self._waiting.popleft()
            (window if job.requests else gone).append(job)
            if window and not self._max_batch_tokens:
                break
        nearest = window
        if self._pads and len(window) > 1:
            oldest = len(window[0].tokens.ids)
            nearest = sorted(window, key=lambda job: abs(len(job.tokens.ids) - oldest))
        batch: list[Job] = []
        for job in nearest:
            batch.append(job)
            if len(batch) > 1 and self._computed(batch) > self._max_batch_tokens:
                batch.pop()
                break
        chosen = set(map(id, batch))
        self._waiting.extendleft(job for job in reversed(window) if id(job) not in chosen)
        tokens = sum(len(job.tokens.ids) for job in (*gone, *batch))
        self._waiting_tokens -= tokens
        QUEUE_TEXTS.inc(-len(gone) - len(batch))
        QUEUE_TOKENS.inc(-tokens)
        return batch

    def _computed(self, batch: Sequence[Job]) -> int:
        """Tokens that the engine computes for a batch, padding included; beside a text in windows nothing is padded."""
        lengths = [len(job.tokens.ids) for job in batch]
        longest = max(lengths)
        return longest * len(lengths) if self._pads and longest <= self._window_tokens else sum(lengths)

    def _finished(self, batch: list[Job], outcome: list[Prediction] | Exception, began: float, ended: float) -> None:
        """Back on the event loop: hand out the results."""
        computed, tokens = self._computed(batch), sum(len(job.tokens.ids) for job in batch)
        if any(job.spans for job in batch):
            trace_batch(batch, computed - tokens, began, ended, outcome if isinstance(outcome, Exception) else None)
        if isinstance(outcome, Exception):
            for job in batch:
                job.future.set_exception(outcome)
            return
        for job, prediction in zip(batch, outcome, strict=True):
            job.future.set_result(Answer(*prediction, len(job.tokens.ids), job.tokens.unknown, job.tokens.truncated))
            QUEUE_SECONDS.observe(began - job.queued_at)
        seconds = ended - began
        self._tokens_per_second += 0.1 * (tokens / seconds - self._tokens_per_second)
        INFERENCE_SECONDS.observe(seconds)
        BATCH_TEXTS.observe(len(batch))
        BATCH_TOKENS.observe(computed)
        INFERENCE_TOKENS.inc(tokens)
        PADDING_TOKENS.inc(computed - tokens)


def lower_priority() -> None:
    """Let the event loop go before this thread, which is to compute."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def trace_batch(batch: Sequence[Job], padding: int, began: float, ended: float, error: Exception | None) -> None:
    """One span for a call of the model, and two for each sampled request in it: its wait, and the call."""
    tokens = sum(len(job.tokens.ids) for job in batch)
    attributes: dict[str, str | int] = {
        "valence.batch.texts": len(batch),
        "valence.batch.tokens": tokens,
        "valence.batch.padding": padding,
    }
    if error is not None:
        attributes["error.type"] = type(error).__qualname__
    requests: dict[Span, list[float]] = {}
    for job in batch:
        for span, asked in job.spans:
            requests.setdefault(span, []).append(max(asked, job.queued_at))
    run = batch_span(requests, attributes, began, ended, failed=error is not None)
    for span, waited_from in requests.items():
        mine = {"valence.texts": len(waited_from), **attributes}
        first = min(waited_from)
        if first < began:  # else it joined an inference that was under way
            step(span, "queue", first, began, {"valence.texts": len(waited_from)})
        step(span, "inference", max(first, began), ended, mine, links=[run], failed=error is not None)
