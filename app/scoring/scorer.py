"""Texts, or rows of a table -> answers: what is cached, then one inference for each that is not. Knows no HTTP.

Single flight: however many requests wait for the same unknown text, it is scored once. A request that gives up does not
cancel the others; when the last one has given up, the text leaves the queue.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from time import perf_counter
from typing import TYPE_CHECKING

from app.errors import TimedOut
from app.model.classifier import ItemEncoder
from app.model.tabular import Item
from app.model.tokenizer import Truncation
from app.scoring.memory import Answer, MemoryCache
from app.scoring.queue import InferenceQueue, Job
from app.telemetry.metrics import (
    CACHE_COALESCED,
    CACHE_MEMORY,
    CACHE_MODEL,
    CACHE_REDIS,
    CACHE_SECONDS,
    REDIS_STAGE_SECONDS,
    TOKENISE_SECONDS,
)
from app.telemetry.tracing import NO_SPAN, Span, step

if TYPE_CHECKING:
    from app.scoring.redis_tier import RedisTier

INLINE_BYTES = 2_000
"""Up to here tokenising takes less than 0.5 ms, about what a hop to a thread and back costs under load, or 1.3 ms for
nothing but emoji; beyond it would hold up the event loop."""
CHARACTERS_PER_TOKEN = 8
"""Few texts have more (English 4.5). What would not fit by this measure is refused before it is tokenised, which would
be most of the work in an overload."""


@dataclass(slots=True)
class Scored:
    """What is known of the texts of one request."""

    keys: list[bytes]
    """The cache key of each text, in the order of the request."""
    answers: dict[bytes, Answer]
    """By key; complete when nothing is missing."""
    missing: dict[bytes, Item]
    """Key -> text still to be scored, each once."""
    hits: int
    """How many of the texts came from a cache."""
    span: Span
    """The request's; steps are added where it is sampled."""
    truncation: Truncation
    """What is cut of a text that is too long."""


class Scorer:
    """The path of a prediction; lives on the event loop.

    A cache key is `cache_prefix` (the model's digest and the engine) and a 128-bit BLAKE2b of the text, keyed by
    `secret` (at most 64 bytes): a new model never meets an old score, no text is stored, and none can be guessed.
    """

    def __init__(
        self,
        *,
        encoder: ItemEncoder,
        queue: InferenceQueue,
        cache_prefix: str,
        secret: bytes,
        memory: MemoryCache,
        redis: "RedisTier | None",
        timeout_seconds: float,
    ) -> None:
        self._encoder = encoder
        self._queue = queue
        self._prefix = cache_prefix.encode()
        whole_or_end, start = (blake2b(digest_size=16, key=secret, person=person) for person in (b"", b"start"))
        # A text that is cut elsewhere is another text; one that is refused if it is cut is the same.
        self._hashes: dict[Truncation, blake2b] = dict.fromkeys(("end", "error", "window"), whole_or_end)
        self._hashes["start"] = start
        self._memory = memory
        self.redis = redis
        """The second tier, if there is one."""
        self._timeout_seconds = timeout_seconds
        self._jobs: dict[bytes, Job] = {}  # what is being scored, by cache key
        self.requests = 0
        """How many ask Redis or the model; between the two one isn't counted, but the loop does nothing else then."""
        # Tokenising has a thread of its own: behind inferences it would wait for the texts it is to feed them.
        self._tokenising = ThreadPoolExecutor(1, thread_name_prefix="tokenise")

    def stop(self) -> None:
        """Drop what waits."""
        self._queue.stop()

    def join(self) -> None:
        """Wait, in any thread, for what still runs."""
        self._queue.join()
        self._tokenising.shutdown(wait=True)

    def publish(self) -> None:
        """Set the gauges of what is cached."""
        self._memory.publish()
        if self.redis is not None:
            self.redis.publish()

    def recall(self, texts: Sequence[Item], span: Span = NO_SPAN, truncation: Truncation = "end") -> Scored:
        """Look the texts up in process: all that most requests need, without leaving the event loop."""
        began = perf_counter()
        prefix, begin_hash, get = self._prefix, self._hashes[truncation].copy, self._memory.get
        scored = Scored([], {}, {}, 0, span, truncation)
        for text in texts:
            text_hash = begin_hash()
            text_hash.update(text.encode())
            key = prefix + text_hash.digest()
            scored.keys.append(key)
            answer = get(key)
            if answer is None:
                scored.missing[key] = text
            else:
                scored.answers[key] = answer
                scored.hits += 1
        CACHE_MEMORY.inc(scored.hits)
        ended = perf_counter()
        CACHE_SECONDS.observe(ended - began)
        if span.is_recording():
            span.set_attributes({"valence.texts": len(texts), "valence.hits.memory": scored.hits})
            step(span, "cache", began, ended, {"valence.texts": len(texts), "valence.hits": scored.hits})
        return scored

    async def ask_redis(self, scored: Scored) -> None:
        """Find what is missing in Redis, if there is one; takes no longer than its timeout and a quarter."""
        if self.redis is None or self.redis.open:
            return
        began = perf_counter()
        self.requests += 1
        try:
            found = await self.redis.get(list(scored.missing))
        finally:
            self.requests -= 1
        ended = perf_counter()
        REDIS_STAGE_SECONDS.observe(ended - began)
        hits = sum(key in found for key in scored.keys)
        if scored.span.is_recording():
            scored.span.set_attribute("valence.hits.redis", hits)
            attributes: dict[str, str | int] = {"db.system.name": "redis", "db.operation.name": "MGET"}
            attributes |= {"valence.keys": len(scored.missing), "valence.hits": hits}
            step(scored.span, "redis", began, ended, attributes, client=True)
        CACHE_REDIS.inc(hits)
        scored.hits += hits
        for key, answer in found.items():
            self._memory.put(key, answer)
            scored.answers[key] = answer
            del scored.missing[key]

    async def ask_model(self, scored: Scored) -> None:
        """Have what no cache knows scored, each text once, however many requests ask for it.

        Raises Overloaded when the queue has no room, TimedOut when the timeout passes first. May be cancelled.
        """
        unknown = {key: text for key, text in scored.missing.items() if key not in self._jobs}
        if unknown:
            most = self._encoder.max_tokens
            self._queue.check_room(sum(min(most, 1 + len(text) // CHARACTERS_PER_TOKEN) for text in unknown.values()))
        CACHE_MODEL.inc(len(unknown))
        # Another request's inference, or that of the same text elsewhere in this one.
        CACHE_COALESCED.inc(len(scored.keys) - scored.hits - len(unknown))
        jobs = self._join(scored)
        self.requests += 1
        try:
            if unknown:
                self._start({jobs[key]: text for key, text in unknown.items()}, scored)
            futures = [job.future for job in jobs.values()]
            await asyncio.wait(futures, timeout=self._timeout_seconds, return_when=asyncio.FIRST_EXCEPTION)
            scored.answers.update({key: job.future.result() for key, job in jobs.items() if job.future.done()})
            if len(scored.answers) < len(set(scored.keys)):
                raise TimedOut(f"not served within {self._timeout_seconds:g} s (VALENCE_TIMEOUT)")
        finally:
            self.requests -= 1
            for key, job in jobs.items():
                job.requests -= 1
                if not job.requests and not job.started and self._jobs.get(key) is job:
                    del self._jobs[key]  # a text that nobody waits for need not be scored

    def _join(self, scored: Scored) -> dict[bytes, Job]:
        """The job of each text: one that is under way, or a new one."""
        loop, now = asyncio.get_running_loop(), perf_counter()
        jobs = {}
        for key in scored.missing:
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = Job(loop.create_future())
                job.future.add_done_callback(partial(self._keep, key, job))
            job.requests += 1
            if scored.span.is_recording():
                job.spans.append((scored.span, now))
            jobs[key] = job
        return jobs

    def _keep(self, key: bytes, job: Job, future: asyncio.Future[Answer]) -> None:
        """A text has been scored, or failed: put its answer into both caches, even if nobody waits any more."""
        if self._jobs.get(key) is job:  # a job that all had left may have a successor
            del self._jobs[key]
        if future.exception() is None:
            self._memory.put(key, future.result())
            if self.redis is not None:
                self.redis.put([(key, future.result())])

    def _start(self, texts: Mapping[Job, Item], scored: Scored) -> None:
        """Tokenise new texts and hand them to the model: now, or from a thread if they are long."""
        tokenise = partial(self._tokenise, texts, scored)
        if sum(len(text.encode()) for text in texts.values()) <= INLINE_BYTES:
            self._submit(texts, tokenise)
        else:
            tokenising = asyncio.get_running_loop().run_in_executor(self._tokenising, tokenise)
            # A callback and no await: this request may be cancelled while others have joined its jobs.
            tokenising.add_done_callback(lambda tokenised: self._submit(texts, tokenised.result))

    def _tokenise(self, texts: Mapping[Job, Item], scored: Scored) -> None:
        """Give each job the tokens of its text; in any thread."""
        began = perf_counter()
        for job, text in texts.items():
            job.tokens = self._encoder.encode(text, scored.truncation)
        ended = perf_counter()
        TOKENISE_SECONDS.observe(ended - began)
        if scored.span.is_recording():
            tokens = sum(len(job.tokens.ids) for job in texts)
            step(scored.span, "tokenise", began, ended, {"valence.texts": len(texts), "valence.tokens": tokens})

    def _submit(self, jobs: Iterable[Job], tokenised: Callable[[], None]) -> None:
        """Queue the jobs for which somebody waits; whatever goes wrong, be it a bug, reaches those who do."""
        try:
            tokenised()
            self._queue.submit([job for job in jobs if job.requests])
        except Exception as exc:
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(exc)
