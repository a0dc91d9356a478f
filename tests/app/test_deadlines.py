"""Many waits, one timer."""

import asyncio

import uvloop

from app.deadlines import Deadlines


def test_waits_expire_in_order_and_only_those_that_last() -> None:
    """Ended waits are let alone, however many there are; each other one expires once."""

    async def scenario() -> list[int]:
        deadlines, expired, all_expired = Deadlines(0.02), [], asyncio.Event()

        def expire(number: int) -> None:
            expired.append(number)
            if len(expired) == 10:
                all_expired.set()

        waits = [deadlines.begin(lambda number=number: expire(number)) for number in range(100)]
        for number, wait in enumerate(waits):
            if number % 10:
                deadlines.end(wait)
        await asyncio.wait_for(all_expired.wait(), 30)
        assert [wait.expired for wait in waits] == [number % 10 == 0 for number in range(100)]
        return expired

    for runner in (asyncio.Runner(), asyncio.Runner(loop_factory=uvloop.new_event_loop)):
        with runner:
            assert runner.run(scenario()) == list(range(0, 100, 10))


def test_timer_follows_the_oldest_wait() -> None:
    """A wait that begins while the timer runs for another one has its own full time, and is not forgotten."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        deadlines, expired = Deadlines(0.05), asyncio.Event()
        first = deadlines.begin(lambda: None)
        await asyncio.sleep(0.03)
        began = loop.time()
        deadlines.begin(expired.set)
        deadlines.end(first)
        await asyncio.wait_for(expired.wait(), 30)
        assert loop.time() - began >= 0.045
        deadlines.begin(expired.set)  # and again after a time without any
        expired.clear()
        await asyncio.wait_for(expired.wait(), 30)

    asyncio.run(scenario())
