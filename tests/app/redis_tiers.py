"""What tests of the Redis tier share: a tier on production's event loop, and answers that can be told apart."""

import asyncio
from collections.abc import Awaitable, Callable

import uvloop
from prometheus_client import REGISTRY

from app.model import Answer, Prediction
from app.redis_tier import RedisTier

GUARD_SECONDS = 30
"""Reached only by a failing test: what should be bounded by the tier's own timeout hangs."""


def answer(number: int) -> Answer:
    """An answer that tells which one it is."""
    prediction = Prediction(b'[{"label":"POSITIVE","score":%d}]' % number, number % 3, number / 8)
    return Answer(*prediction, number, number % 5, truncated=bool(number % 2))


def key(number: int) -> bytes:
    """A key as binary as the real ones."""
    return b"valence:test:\x00\r\n\xff" + number.to_bytes(4, "big")


def run(url: str, scenario: Callable[[RedisTier], Awaitable[None]], timeout_seconds: float = 0.25) -> None:
    """Run `scenario` on an event loop with a tier of its own; its end is bounded, too."""

    async def main() -> None:
        async with (
            asyncio.timeout(GUARD_SECONDS),
            RedisTier(url, timeout_seconds=timeout_seconds, ttl_seconds=100) as tier,
        ):
            await scenario(tier)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def until(condition: Callable[[], object]) -> None:
    """Let the loop go round until `condition` holds; the guard ends it otherwise."""
    while not condition():  # noqa: ASYNC110 - what Redis does sets no event of ours
        await asyncio.sleep(0.01)


def metric(name: str, **labels: str) -> float:
    """Value of a metric of this process."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
