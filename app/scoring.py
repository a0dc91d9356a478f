"""Texts -> answers: what is cached, then one inference for each text that is not. Knows no HTTP.

Single flight: however many requests wait for the same unknown text, it is scored once. A request that gives up does not
cancel the others; when the last one has given up, the text leaves the queue.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

from app.batching import Batcher
from app.cache import Keys, MemoryCache
from app.deadlines import Deadlines
from app.errors import Overloaded
from app.flights import Abandoned, Flight, Wait
from app.metrics import (
    CACHE_COALESCED,
    CACHE_MEMORY,
    CACHE_MODEL,
    CACHE_REDIS,
    CACHE_SECONDS,
    REDIS_STAGE_SECONDS,
    TOKENISE_SECONDS,
)
from app.model import Answer
from app.redis_tier import RedisTier
from app.spans import Trace
from app.tokenization import Encoder, Tokens

INLINE_CHARACTERS = 2_000
"""Up to here tokenising takes less than 0.5 ms, about what a hop to a thread and back costs under load; beyond it would
hold up the event loop."""
CHARACTERS_PER_TOKEN = 8
"""Few texts have more (English 4.5). What would not fit by this measure is refused before it is tokenised, which would
be most of the work in an overload."""


class Scored(NamedTuple):
    """The keys and answers in the order of the texts, and how many of them came from the cache."""

    keys: list[bytes]
    answers: list[Answer]
    hits: int


@dataclass(slots=True)
class Recalled:
    """What the caches know of a request."""

    texts: Sequence[str]
    keys: list[bytes]
    """In the same order."""
    answers: list[Answer | None]
    """In the same order; None: not known."""
    missing: dict[bytes, str]
    """Key -> text still to be scored, each once."""
    hits: int
    trace: Trace | None
    wait: Wait | None = None
    """Set when the model has been asked,"""
    flights: Sequence[Flight] = ()
    """for these."""

    def fill(self, found: dict[bytes, Answer]) -> int:
        """Set what was not known and has been found; returns how many texts that answers."""
        if len(self.keys) == 1:
            self.answers = list(found.values())
            return 1
        filled = 0
        for number, (key, answer) in enumerate(zip(self.keys, self.answers, strict=True)):
            if answer is None and key in found:
                self.answers[number] = found[key]
                filled += 1
        return filled

    def scored(self) -> Scored:
        """All answers; there must be no missing one."""
        return Scored(self.keys, [answer for answer in self.answers if answer is not None], self.hits)


class Scorer:
    """The path of a prediction; lives on the event loop."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        batcher: Batcher,
        keys: Keys,
        memory: MemoryCache,
        redis: RedisTier | None,
        timeout_seconds: float,
    ) -> None:
        self._encoder = encoder
        self._batcher = batcher
        self._key = keys
        self._memory = memory
        self._redis = redis
        self._deadlines = Deadlines(timeout_seconds)
        self._flights: dict[bytes, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # hard references: asyncio keeps weak ones only
        # Tokenising has a thread of its own: behind inferences it would wait for the texts it is to feed them.
        self._tokenising = ThreadPoolExecutor(1, thread_name_prefix="tokenise")

    def close(self) -> None:
        """Drop what waits."""
        self._batcher.close()
        self._tokenising.shutdown(wait=True)

    @property
    def asks_redis(self) -> bool:
        """Whether Redis may know what this process does not."""
        return self._redis is not None and not self._redis.open

    async def score(self, texts: Sequence[str]) -> Scored:
        """Answer every text, in order.

        Raises Overloaded when the queue has no room, TimedOut when the timeout passes first.
        """
        recalled = self.recall(texts)
        if recalled.missing:
            await self.ask_redis(recalled)
        if recalled.missing:
            await self.infer(recalled)
        return recalled.scored()

    def recall(self, texts: Sequence[str], trace: Trace | None = None) -> Recalled:
        """What is kept in process: all that most requests need, without leaving the event loop."""
        began = perf_counter()
        keys, answers, missing = [], [], {}
        for text in texts:
            key = self._key(text)
            answer = self._memory.get(key)
            if answer is None:
                missing[key] = text
            keys.append(key)
            answers.append(answer)
        hits = len(texts) - answers.count(None) if missing else len(texts)
        CACHE_MEMORY.count += hits
        ended = perf_counter()
        CACHE_SECONDS.observe(ended - began)
        if trace is not None:
            trace.recalled(began, ended, len(texts), hits)
        return Recalled(texts, keys, answers, missing, hits, trace)

    async def ask_redis(self, recalled: Recalled) -> None:
        """Add what Redis knows, if there is one."""
        if self._redis is None:
            return
        began = perf_counter()
        found = await self._redis.get(list(recalled.missing))
        ended = perf_counter()
        REDIS_STAGE_SECONDS.observe(ended - began)
        hits = recalled.fill(found) if found else 0
        if recalled.trace is not None:
            recalled.trace.asked_redis(began, ended, len(recalled.missing), hits)
        if found:
            self._memory.put(found.items())
            recalled.hits += hits
            CACHE_REDIS.count += hits
            recalled.missing = {key: text for key, text in recalled.missing.items() if key not in found}

    def ask_model(self, recalled: Recalled) -> None:
        """Have what no cache knows scored, each text once, however many requests ask for it.

        `collect` when `recalled.wait.future` is done; cancel that when nobody wants the answers any more. Raises
        Overloaded or NotReady when that is known by now, so that a refusal takes no turn of the event loop.
        """
        trace = recalled.trace
        if trace is not None:
            trace.asked = perf_counter()
        if refused := self._refusal([text for key, text in recalled.missing.items() if key not in self._flights]):
            if trace is not None:
                trace.gave_up(type(refused).__name__)
            raise refused
        future: asyncio.Future[None] = self._deadlines.loop.create_future()
        wait = recalled.wait = Wait(len(recalled.missing), future, trace, self._deadlines)
        recalled.flights = self._board(recalled, wait)
        if future.done():
            self.collect(recalled)

    def collect(self, recalled: Recalled) -> None:
        """Add what the model has said. Raises as `score` does, and CancelledError."""
        assert recalled.wait is not None
        self._deadlines.end(recalled.wait.deadline)
        try:
            recalled.wait.future.result()
        except (Exception, asyncio.CancelledError) as exc:
            if recalled.trace is not None:  # past ASGI, who leaves cancels
                reason = Abandoned if isinstance(exc, asyncio.CancelledError) else type(exc)
                recalled.trace.gave_up(reason.__name__)
            for flight in recalled.flights:
                self._leave(flight, recalled.wait)
            raise
        recalled.fill({flight.key: flight.answer for flight in recalled.flights if flight.answer is not None})

    async def infer(self, recalled: Recalled, left: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Ask the model, unless it has been asked, and wait for it.

        Raises as `score` does, and Abandoned when what `left` begins, watching whoever asked, ends first.
        """
        if recalled.wait is None:
            self.ask_model(recalled)
        wait = recalled.wait
        assert wait is not None
        watcher = None
        if left is not None and not wait.future.done():
            watcher = self._deadlines.loop.create_task(left())
            watcher.add_done_callback(wait.watched)
        try:
            await wait.future
        finally:
            if watcher is not None:
                watcher.cancel()
            self.collect(recalled)

    def _board(self, recalled: Recalled, wait: Wait) -> list[Flight]:
        """Join the flights that are under way; start the rest."""
        flights, fresh = [], []
        for key in recalled.missing:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = Flight(self, key, wait.trace)
                fresh.append(flight)
            flight.waits[wait] = None
            flights.append(flight)
        CACHE_MODEL.count += len(fresh)
        # Another request's inference, or that of the same text elsewhere in this one.
        CACHE_COALESCED.count += len(recalled.keys) - recalled.hits - len(fresh)
        if fresh:
            texts = [recalled.missing[flight.key] for flight in fresh]
            if sum(map(len, texts)) <= INLINE_CHARACTERS:
                self._submit(fresh, partial(self._encode, texts))
            else:
                # A task of its own: this request may be cancelled while others have joined its flights.
                task = asyncio.create_task(self._encode_in_thread(fresh, texts))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return flights

    def _refusal(self, texts: Sequence[str]) -> Overloaded | None:
        """What to say to so many more texts, by about how many tokens they have, when there is no room for them."""
        if not texts:
            return None
        most = self._encoder.max_tokens
        return self._batcher.refusal(sum([min(most, 1 + len(text) // CHARACTERS_PER_TOKEN) for text in texts]))

    def _leave(self, flight: Flight, wait: Wait) -> None:
        """A request waits no longer; a text that nobody waits for need not be scored."""
        flight.waits.pop(wait, None)
        if not flight.waits and not flight.started:
            flight.abandoned = True
            self.forget(flight)

    def forget(self, flight: Flight) -> None:
        """From now on its text is as unknown as any other."""
        if self._flights.get(flight.key) is flight:  # a flight that all had left may have a successor
            del self._flights[flight.key]

    def keep(self, key: bytes, answer: Answer) -> None:
        """Put an answer into both caches."""
        items = [(key, answer)]
        self._memory.put(items)
        if self._redis is not None:
            self._redis.put(items)

    def _encode(self, texts: Sequence[str]) -> tuple[list[Tokens], float, float]:
        """The tokens of each text, and when it began and ended; in any thread."""
        began = perf_counter()
        encoded = [self._encoder.encode(text) for text in texts]
        return encoded, began, perf_counter()

    async def _encode_in_thread(self, flights: list[Flight], texts: Sequence[str]) -> None:
        encoding = asyncio.get_running_loop().run_in_executor(self._tokenising, self._encode, texts)
        await asyncio.wait([encoding])
        self._submit(flights, encoding.result)

    def _submit(self, flights: Sequence[Flight], encoded: Callable[[], tuple[list[Tokens], float, float]]) -> None:
        """Hand tokenised flights to the model, but for those whose requests have all gone."""
        try:
            encodings, began, ended = encoded()
            TOKENISE_SECONDS.observe(ended - began)
            if (trace := flights[0].trace) is not None:
                trace.tokenised(began, ended, len(encodings), sum(len(tokens.ids) for tokens in encodings))
            for flight, tokens in zip(flights, encodings, strict=True):
                flight.ids, flight.truncated, flight.unknown_tokens = tokens
            self._batcher.submit([flight for flight in flights if not flight.abandoned])
        except Exception as exc:  # whatever it is, a full queue or a bug, it must reach those who wait
            for flight in flights:
                flight.finish(exc)
