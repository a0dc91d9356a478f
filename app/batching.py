"""The bounded queue in front of the model: idle threads start at once, waiting texts may leave together.

No text ever waits for company. While all threads are busy texts gather, and a free thread takes the oldest one with
those of nearest length, as many as fit `max_batch_tokens` when padded (0: each alone). Texts whose requests have all
gone are dropped before inference, not after.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import ceil

from app.errors import Overloaded
from app.metrics import BATCH_TEXTS, INFERENCE_SECONDS, QUEUE_TOKENS, REJECTED

WINDOW = 64
"""How far behind the oldest text to look for company of near length."""
ASSUMED_TOKENS_PER_SECOND = 5_000.0
"""For `Retry-After` before the first inference; measured from then on."""


@dataclass(eq=False)
class Job:
    """One text on its way through the model; `future` becomes its fragment of the response body."""

    ids: list[int]
    future: asyncio.Future[bytes]
    started: bool = False


class Batcher:
    """Runs jobs on `threads` threads. Lives on the event loop: only `run` is called from the threads."""

    def __init__(
        self,
        run: Callable[[list[list[int]]], list[bytes]],
        *,
        threads: int,
        max_batch_tokens: int,
        max_queue_tokens: int,
    ) -> None:
        self._run = run
        self._max_batch_tokens = max_batch_tokens
        self._max_queue_tokens = max_queue_tokens
        self._threads = threads
        self._idle = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._waiting: deque[Job] = deque()
        self._waiting_tokens = 0
        self._tokens_per_second = ASSUMED_TOKENS_PER_SECOND

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue all of the jobs or none. Raises Overloaded when they would not fit."""
        tokens = sum(len(job.ids) for job in jobs)
        # An empty queue takes any request: one that is larger than the bound could otherwise never be served.
        if self._waiting and self._waiting_tokens + tokens > self._max_queue_tokens:
            REJECTED.labels("queue_full").inc()
            seconds = ceil(self._waiting_tokens / (self._tokens_per_second * self._threads))
            raise Overloaded(
                f"{self._waiting_tokens} tokens are waiting, {tokens} more would exceed the limit of "
                f"{self._max_queue_tokens} (VALENCE_MAX_QUEUE_TOKENS)",
                headers={"Retry-After": str(max(1, seconds))},
            )
        self._waiting.extend(jobs)
        self._waiting_tokens += tokens
        self._dispatch()

    def close(self) -> None:
        """Drop what waits and let running inferences end."""
        while self._waiting:
            self._waiting.popleft().future.cancel()
        self._executor.shutdown(wait=True)

    def _dispatch(self) -> None:
        """Give every idle thread a batch."""
        while self._idle and (batch := self._take()):
            self._idle -= 1
            for job in batch:
                job.started = True
            running = asyncio.get_running_loop().run_in_executor(self._executor, self._timed_run, batch)
            running.add_done_callback(partial(self._finished, batch))
        QUEUE_TOKENS.set(self._waiting_tokens)

    def _take(self) -> list[Job]:
        """The oldest live job and those of near length behind it that fit beside it."""
        window: list[Job] = []
        while self._waiting and len(window) < WINDOW:
            job = self._waiting.popleft()
            if job.future.cancelled():
                self._waiting_tokens -= len(job.ids)
            else:
                window.append(job)
                if not self._max_batch_tokens:
                    break
        if not window:
            return []
        oldest = len(window[0].ids)
        batch: list[Job] = []
        longest = 0
        for job in sorted(window, key=lambda job: abs(len(job.ids) - oldest)):
            longest = max(longest, len(job.ids))
            if batch and longest * (len(batch) + 1) > self._max_batch_tokens:
                break
            batch.append(job)
        chosen = set(map(id, batch))
        self._waiting.extendleft(job for job in reversed(window) if id(job) not in chosen)
        self._waiting_tokens -= sum(len(job.ids) for job in batch)
        return batch

    def _timed_run(self, batch: list[Job]) -> tuple[list[bytes], float]:
        """In a thread: the fragments, and the seconds that they took."""
        began = time.perf_counter()
        fragments = self._run([job.ids for job in batch])
        return fragments, time.perf_counter() - began

    def _finished(self, batch: list[Job], done: asyncio.Future[tuple[list[bytes], float]]) -> None:
        """Back on the event loop: hand out the results and start the next batch."""
        self._idle += 1
        self._dispatch()
        error = done.exception()
        if error is not None:
            for job in batch:
                if not job.future.done():
                    job.future.set_exception(error)
            return
        fragments, seconds = done.result()
        for job, fragment in zip(batch, fragments, strict=True):
            if not job.future.done():
                job.future.set_result(fragment)
        tokens = sum(len(job.ids) for job in batch)
        self._tokens_per_second += 0.1 * (tokens / seconds - self._tokens_per_second)
        INFERENCE_SECONDS.observe(seconds)
        BATCH_TEXTS.observe(len(batch))
