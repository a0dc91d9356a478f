"""What tests of the Redis tier share: a tier on production's event loop, and answers that can be told apart."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import uvloop
from prometheus_client import REGISTRY

from app.scoring.memory import Answer
from app.scoring.redis_tier import RedisTier
from app.scoring.stored import StoredAnswers

SECRET = b"of these tests"
STORED = StoredAnswers(SECRET, labels=4)
GUARD_SECONDS = 120
"""Reached only by a failing test: what should be bounded by the tier's own timeout hangs."""


def answer(number: int) -> Answer:
    """An answer that tells which one it is."""
    first = number % 3
    labels = (first, *(label for label in range(4) if label != first))
    return Answer(
        labels, (0.9, 0.1 / (number + 1), 0.01, 0.0), bytes(16), number, number % 5, truncated=bool(number % 2)
    )


def key(number: int) -> bytes:
    """A key as binary as the real ones."""
    return b"valence:test:\x00\r\n\xff" + number.to_bytes(4, "big")


def run(url: str, scenario: Callable[[RedisTier], Awaitable[None]], timeout_seconds: float = 0.25) -> None:
    """Run `scenario` on an event loop with a tier of its own; its end is bounded, too."""

    async def main() -> None:
        async with (
            asyncio.timeout(GUARD_SECONDS),
            RedisTier(url, timeout_seconds=timeout_seconds, ttl_seconds=100, secret=SECRET, labels=4) as tier,
        ):
            await scenario(tier)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def until(condition: Callable[[], object]) -> None:
    """Let the loop go round until `condition` holds; the guard ends it otherwise."""
    while not condition():  # noqa: ASYNC110 - what Redis does sets no event of ours
        await asyncio.sleep(0.01)


async def until_found(tier: RedisTier, number: int) -> None:
    """Ask until the answer comes from Redis; the guard ends it otherwise."""
    while (found := await tier.get([key(number)])) == {}:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)
    assert found == {key(number): answer(number)}


async def ask_on(tier: RedisTier, numbers: range, over: asyncio.Event) -> int:
    """Ask for a few answers at a time until it is `over`, and return how many came: none may be wrong."""
    hits = 0
    chance = random.Random(numbers.stop)
    while not over.is_set():
        asked = chance.sample(numbers, 5)
        found = await tier.get([key(number) for number in asked])
        assert found.items() <= {key(number): answer(number) for number in asked}.items()
        hits += len(found)
        tier.put([(key(asked[0]), answer(asked[0]))])
        await asyncio.sleep(0.001)
    return hits


def metric(name: str, **labels: str) -> float:
    """Value of a metric of this process."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
