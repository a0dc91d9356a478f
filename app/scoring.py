"""Texts -> answers: what is cached, then one inference for each text that is not. Knows no HTTP.

Single flight: however many requests wait for the same unknown text, it is scored once. A request that gives up does not
cancel the others; when the last one has given up, the text leaves the queue.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import NamedTuple

from app.batching import Batcher, Job
from app.cache import Keys, MemoryCache
from app.errors import TimedOut
from app.metrics import (
    CACHE_COALESCED,
    CACHE_MEMORY,
    CACHE_MODEL,
    CACHE_REDIS,
    CACHE_SECONDS,
    REDIS_STAGE_SECONDS,
    TOKENISE_SECONDS,
)
from app.model import Answer, Prediction
from app.redis_tier import RedisTier
from app.tokenization import Encoder, Tokens

INLINE_CHARACTERS = 2_000
"""Up to here tokenising takes less than 0.5 ms, about what a hop to a thread and back costs under load; beyond it would
hold up the event loop."""


@dataclass(eq=False)
class Flight(Job):
    """One text being scored, and how many requests wait for it."""

    truncated: bool = False
    unknown_tokens: int = 0
    waiters: int = 0

    def answer(self) -> Answer:
        """The result; raises what the inference raised."""
        return Answer(self.future.result(), len(self.ids), self.unknown_tokens, self.truncated)


class Scored(NamedTuple):
    """The answers in the order of the texts, and how many of them came from the cache."""

    answers: list[Answer]
    hits: int


class Recalled(NamedTuple):
    """What the caches know of a request: the keys in the order of the texts, answers, and texts still to be scored."""

    keys: list[bytes]
    known: dict[bytes, Answer]
    missing: dict[bytes, str]
    hits: int


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
        self._timeout_seconds = timeout_seconds
        self._flights: dict[bytes, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # hard references: asyncio keeps weak ones only
        # Tokenising has a thread of its own: behind inferences it would wait for the texts it is to feed them.
        self._tokenising = ThreadPoolExecutor(1, thread_name_prefix="tokenise")

    def close(self) -> None:
        """Drop what waits."""
        self._batcher.close()
        self._tokenising.shutdown(wait=True)

    def known(self, texts: Sequence[str]) -> Scored | None:
        """The answers if all of them are kept in process; what most requests need, without leaving the event loop."""
        began = perf_counter()
        answers = []
        for text in texts:
            answer = self._memory.get(self._key(text))
            if answer is None:
                return None
            answers.append(answer)
        CACHE_MEMORY.count += len(answers)
        CACHE_SECONDS.observe(perf_counter() - began)
        return Scored(answers, len(answers))

    async def score(self, texts: Sequence[str]) -> Scored:
        """Answer every text, in order.

        Raises Overloaded when the queue has no room, TimedOut when the timeout passes first.
        """
        return await self.complete(await self.recall(texts))

    async def recall(self, texts: Sequence[str]) -> Recalled:
        """What both caches know of the texts."""
        began = perf_counter()
        keys = [self._key(text) for text in texts]
        known = {key: answer for key in dict.fromkeys(keys) if (answer := self._memory.get(key)) is not None}
        in_process = sum(key in known for key in keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        looked = perf_counter()
        CACHE_SECONDS.observe(looked - began)
        if missing and self._redis is not None:
            found = await self._redis.get(list(missing))
            REDIS_STAGE_SECONDS.observe(perf_counter() - looked)
            self._memory.put(found.items())
            known |= found
            missing = {key: text for key, text in missing.items() if key not in found}
        hits = sum(key in known for key in keys)
        CACHE_MEMORY.count += in_process
        CACHE_REDIS.count += hits - in_process
        CACHE_COALESCED.count += len(keys) - hits - len(missing)  # the same text twice in one request
        return Recalled(keys, known, missing, hits)

    async def complete(self, recalled: Recalled) -> Scored:
        """Add what no cache knows; raises as `score` does."""
        known = recalled.known | await self._infer(recalled.missing) if recalled.missing else recalled.known
        return Scored([known[key] for key in recalled.keys], recalled.hits)

    async def _infer(self, missing: dict[bytes, str]) -> dict[bytes, Answer]:
        """Score the texts that no cache knows, each once, however many requests ask for it."""
        flights = self._board(missing)
        futures = [flight.future for flight in flights.values()]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
            return {key: flight.answer() for key, flight in flights.items()}
        except TimeoutError as exc:
            raise TimedOut(f"not served within {self._timeout_seconds:g} s (VALENCE_TIMEOUT)") from exc
        finally:
            for flight in flights.values():
                flight.waiters -= 1
                if not flight.waiters and not flight.started:
                    flight.future.cancel()

    def _board(self, missing: dict[bytes, str]) -> dict[bytes, Flight]:
        """Join the flights that are under way; start the rest."""
        fresh: dict[bytes, Flight] = {}
        for key in missing:
            under_way = self._flights.get(key)
            if under_way is None or under_way.future.cancelled():  # left by all, and not cleared away yet
                flight = fresh[key] = self._flights[key] = Flight([], asyncio.get_running_loop().create_future())
                flight.future.add_done_callback(partial(self._landed, key, flight))
        flights = {key: self._flights[key] for key in missing}
        for flight in flights.values():
            flight.waiters += 1
        CACHE_MODEL.count += len(fresh)
        CACHE_COALESCED.count += len(missing) - len(fresh)
        if fresh:
            texts = [missing[key] for key in fresh]
            if sum(map(len, texts)) <= INLINE_CHARACTERS:
                self._submit(list(fresh.values()), partial(self._encode, texts))
            else:
                # A task of its own: this request may be cancelled while others have joined its flights.
                task = asyncio.create_task(self._encode_in_thread(list(fresh.values()), texts))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return flights

    def _encode(self, texts: Sequence[str]) -> tuple[list[Tokens], float]:
        """The tokens of each text, and the seconds that it took; in any thread."""
        began = perf_counter()
        encoded = [self._encoder.encode(text) for text in texts]
        return encoded, perf_counter() - began

    async def _encode_in_thread(self, flights: list[Flight], texts: Sequence[str]) -> None:
        encoding = asyncio.get_running_loop().run_in_executor(self._tokenising, self._encode, texts)
        await asyncio.wait([encoding])
        self._submit(flights, encoding.result)

    def _submit(self, flights: list[Flight], encoded: Callable[[], tuple[list[Tokens], float]]) -> None:
        """Hand tokenised flights to the model; those whose requests have all gone are done already."""
        try:
            encodings, seconds = encoded()
            TOKENISE_SECONDS.observe(seconds)
            for flight, tokens in zip(flights, encodings, strict=True):
                flight.ids, flight.truncated, flight.unknown_tokens = tokens
            self._batcher.submit([flight for flight in flights if not flight.future.done()])
        except Exception as exc:  # whatever it is, a full queue or a bug, it must reach those who wait
            for flight in flights:
                if not flight.future.done():
                    flight.future.set_exception(exc)

    def _landed(self, key: bytes, flight: Flight, _: asyncio.Future[Prediction]) -> None:
        """Keep the result, whether or not somebody still waits for it."""
        if self._flights.get(key) is flight:  # a flight that all had left may have a successor
            del self._flights[key]
        if flight.future.cancelled() or flight.future.exception() is not None:
            return
        items = [(key, flight.answer())]
        self._memory.put(items)
        if self._redis is not None:
            self._redis.put(items)
