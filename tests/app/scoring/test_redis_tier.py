"""The Redis tier alone, against a real Redis that is healthy, hung, full or gone."""

import asyncio
import random
import socket
import time

import pytest
from redis import Redis

from app.scoring.redis import MAX_KEYS_PER_CALL
from app.scoring.redis_tier import FAILURES_TO_OPEN, MAX_KEYS, MAX_PENDING_WRITES, RedisTier
from tests.app.redis_tiers import STORED, answer, key, metric, run, until
from tests.conftest import RedisServer


async def stored(tier: RedisTier, client: Redis, count: int) -> None:
    """Write so many answers and wait until Redis has them."""
    tier.put((key(number), answer(number)) for number in range(count))
    await until(lambda: client.dbsize() == count)


async def turns() -> None:
    """Let the loop go round until what has been begun is under way."""
    for _ in range(20):
        await asyncio.sleep(0)


def calls(client: Redis, command: str) -> int:
    """How often Redis was sent this command."""
    return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


@pytest.fixture
def client(redis_server: RedisServer) -> Redis:
    """Another client of the same Redis: to see what it holds and what it was asked."""
    return Redis.from_url(redis_server.url)


def test_what_was_put_is_found(redis_server: RedisServer, client: Redis) -> None:
    """Answers come back as they went, flag and all, each under its key; unknown keys are left out."""

    async def scenario(tier: RedisTier) -> None:
        await stored(tier, client, 10)
        found = await tier.get([key(3), key(99), key(4)])
        assert found == {key(3): answer(3), key(4): answer(4)}
        assert await tier.get([key(99)]) == {}

    run(redis_server.url, scenario)


def test_bytes_are_counted(redis_server: RedisServer, client: Redis) -> None:
    """Keys and values that go out, values that come in."""

    async def scenario(tier: RedisTier) -> None:
        sent, received = (metric("valence_redis_bytes_total", direction=name) for name in ("sent", "received"))
        await stored(tier, client, 1)
        await tier.get([key(0), key(1)])
        length = len(STORED.pack(key(0), answer(0)))
        assert metric("valence_redis_bytes_total", direction="sent") == sent + 3 * len(key(0)) + length
        assert metric("valence_redis_bytes_total", direction="received") == received + length

    run(redis_server.url, scenario)


def test_every_entry_expires(redis_server: RedisServer, client: Redis) -> None:
    """At most the TTL, at least nine tenths of it, and not all at the same time."""

    async def scenario(tier: RedisTier) -> None:
        before = client.time()[0] * 1000
        await stored(tier, client, 100)
        after = (client.time()[0] + 1) * 1000
        expiries = [int(client.pexpiretime(key(number))) for number in range(100)]
        assert before + 90_000 <= min(expiries)
        assert max(expiries) <= after + 100_000
        assert len(set(expiries)) > 50

    run(redis_server.url, scenario)


def test_concurrent_look_ups_travel_together(redis_server: RedisServer, client: Redis) -> None:
    """Five hundred requests at once cost a few calls, on two connections; each gets its own keys."""

    async def scenario(tier: RedisTier) -> None:
        await stored(tier, client, 500)
        found = await asyncio.gather(*(tier.get([key(number), key(number + 1)]) for number in range(499)))
        assert found == [{key(n): answer(n), key(n + 1): answer(n + 1)} for n in range(499)]
        assert 1 <= calls(client, "mget") <= 5
        assert len(client.client_list()) <= 3  # the last of them is the test's

    run(redis_server.url, scenario, timeout_seconds=1)


def test_large_look_up_is_cut(redis_server: RedisServer, client: Redis) -> None:
    """No call holds more keys than `MAX_KEYS_PER_CALL`: a huge one would block Redis for all."""

    async def scenario(tier: RedisTier) -> None:
        keys = [key(number) for number in range(2 * MAX_KEYS_PER_CALL + 1)]
        await stored(tier, client, len(keys))
        assert len(await tier.get(keys)) == len(keys)
        assert calls(client, "mget") == 3

    run(redis_server.url, scenario, timeout_seconds=1)


def test_hung_redis_is_waited_for_briefly(redis_server: RedisServer, client: Redis) -> None:
    """Each look-up ends with its timeout; after three the breaker is open and nothing is asked any more."""

    async def scenario(tier: RedisTier) -> None:
        await stored(tier, client, 1)
        before = metric("valence_redis_errors_total", operation="get")
        redis_server.hang()
        for _ in range(FAILURES_TO_OPEN):
            assert not tier.open
            assert await tier.get([key(0)]) == {}
        await until(lambda: tier.open)
        for _ in range(1_000):
            assert await tier.get([key(0)]) == {}
        assert metric("valence_redis_errors_total", operation="get") == before + FAILURES_TO_OPEN
        assert metric("valence_redis_breaker_open") == 1
        redis_server.resume()
        await until(lambda: not tier.open)
        assert metric("valence_redis_breaker_open") == 0
        assert await tier.get([key(0)]) == {key(0): answer(0)}

    run(redis_server.url, scenario)


def test_late_reply_is_never_taken_for_the_next(redis_server: RedisServer, client: Redis) -> None:
    """A reply that comes after its look-up was given up belongs to no other look-up (redis-py had that bug in 2023)."""

    async def scenario(tier: RedisTier) -> None:
        await stored(tier, client, 50)
        for number in range(0, 50, 2):
            redis_server.hang()
            late = asyncio.create_task(tier.get([key(number)]))
            await until(late.done)
            redis_server.resume()
            await until(client.ping)
            await until(lambda: not tier.open)
            found = await tier.get([key(number + 1)])
            assert found.get(key(number + 1), answer(number + 1)) == answer(number + 1)
        assert await tier.get([key(7)]) == {key(7): answer(7)}

    run(redis_server.url, scenario, timeout_seconds=0.02)


def test_cancelled_look_up_spoils_no_other(redis_server: RedisServer, client: Redis) -> None:
    """A client that leaves takes nobody's answer with it."""

    async def scenario(tier: RedisTier) -> None:
        await stored(tier, client, 2)
        leaver, stayer = (asyncio.create_task(tier.get([key(number)])) for number in (0, 1))
        await asyncio.sleep(0)
        leaver.cancel()
        assert await stayer == {key(1): answer(1)}
        assert leaver.cancelled()

    run(redis_server.url, scenario)


def test_killed_redis_is_left_alone_until_it_is_back(redis_server: RedisServer) -> None:
    """Refused connections open the breaker; when Redis listens again it closes by itself, and writes arrive."""

    async def scenario(tier: RedisTier) -> None:
        redis_server.kill()
        while not tier.open:
            assert await tier.get([key(1)]) == {}
        dropped = metric("valence_redis_writes_dropped_total")
        tier.put([(key(1), answer(1))])
        assert metric("valence_redis_writes_dropped_total") == dropped + 1
        await asyncio.to_thread(redis_server.start)
        await until(lambda: not tier.open)
        tier.put([(key(2), answer(2))])
        with Redis.from_url(redis_server.url) as client:
            await until(lambda: client.exists(key(2)))
            assert not client.exists(key(1))

    run(redis_server.url, scenario)


def test_waiting_writes_are_bounded(redis_server: RedisServer) -> None:
    """What exceeds the buffer is dropped and counted, not piled up."""

    async def scenario(tier: RedisTier) -> None:
        dropped = metric("valence_redis_writes_dropped_total")
        tier.put((key(number), answer(number)) for number in range(MAX_PENDING_WRITES + 5))
        assert metric("valence_redis_writes_dropped_total") == dropped + 5

    run(redis_server.url, scenario)


def test_refused_writes_do_not_stop_reading(redis_server: RedisServer, client: Redis) -> None:
    """A full Redis still knows what it knows."""

    async def scenario(tier: RedisTier) -> None:
        await stored(tier, client, 1)
        client.config_set("maxmemory", "1mb")
        refused = metric("valence_redis_errors_total", operation="set")
        for number in range(1, 2 * FAILURES_TO_OPEN):
            tier.put([(key(number), answer(number))])
            expected = refused + number
            await until(lambda expected=expected: metric("valence_redis_errors_total", operation="set") == expected)
        assert not tier.open
        assert await tier.get([key(0), key(1)]) == {key(0): answer(0)}

    run(redis_server.url, scenario, timeout_seconds=30)  # a write that is late would be an error of another kind


def test_hung_redis_does_not_hold_up_the_end(redis_server: RedisServer, client: Redis) -> None:
    """Closing waits for no reply."""

    async def scenario(tier: RedisTier) -> None:
        await stored(tier, client, 1)
        redis_server.hang()
        tier.put([(key(1), answer(1))])
        await asyncio.sleep(0)

    run(redis_server.url, scenario)


def test_breaker_stays_open_until_redis_answers(redis_server: RedisServer) -> None:
    """However many ask while a look-up fails: the breaker stays open, its gauge says so, and closes with Redis back."""

    async def scenario(tier: RedisTier) -> None:
        await tier.get([key(1)])
        redis_server.hang()
        while not tier.open:
            first = asyncio.create_task(tier.get([key(1)]))
            await turns()  # its look-up is under way
            await asyncio.gather(first, *(tier.get([key(number)]) for number in range(20)))
        await turns()
        assert tier.open
        assert metric("valence_redis_breaker_open") == 1
        redis_server.resume()
        await until(lambda: not tier.open)
        assert metric("valence_redis_breaker_open") == 0

    run(redis_server.url, scenario, timeout_seconds=0.05)


def test_late_loop_reads_before_it_gives_up(redis_server: RedisServer, client: Redis) -> None:
    """A process that got no CPU for longer than the timeout finds the reply waiting for it, and takes it."""

    class Stall(asyncio.Protocol):
        """Holds the loop up where it reads, behind which it looks at its timers (and Redis answers meanwhile)."""

        def data_received(self, _: bytes) -> None:
            redis_server.resume()
            time.sleep(0.5)

    async def scenario(tier: RedisTier) -> None:
        await stored(tier, client, 1)
        errors = metric("valence_redis_errors_total", operation="get")
        ours, other = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_unix_connection(Stall, sock=ours)
        redis_server.hang()
        asked = asyncio.create_task(tier.get([key(0)]))
        await turns()  # its look-up is under way
        other.send(b"stall")
        found = await asked
        transport.close()
        other.close()
        assert found == {key(0): answer(0)}
        assert metric("valence_redis_errors_total", operation="get") == errors

    run(redis_server.url, scenario)


def test_keys_under_way_are_bounded(redis_server: RedisServer, client: Redis) -> None:
    """Beyond the bound a look-up is a miss at once, is counted, and opens no breaker."""

    async def scenario(tier: RedisTier) -> None:
        await stored(tier, client, 1)
        redis_server.hang()
        most = asyncio.create_task(tier.get([key(number) for number in range(MAX_KEYS)]))
        await asyncio.sleep(0)
        errors = metric("valence_redis_errors_total", operation="get")
        assert await tier.get([key(0)]) == {}
        assert not most.done()
        assert metric("valence_redis_errors_total", operation="get") == errors + 1
        assert not tier.open
        assert await most == {}  # in time, too
        redis_server.resume()
        assert await tier.get([key(0)]) == {key(0): answer(0)}

    run(redis_server.url, scenario, timeout_seconds=1)


def test_idle_connection_may_go(redis_server: RedisServer, client: Redis) -> None:
    """Redis or something between closes idle connections: no failure, however often, and the next call is answered."""

    async def scenario(tier: RedisTier) -> None:
        errors = metric("valence_redis_errors_total", operation="get")
        for number in range(FAILURES_TO_OPEN):
            tier.put([(key(number), answer(number))])
            await until(lambda number=number: client.exists(key(number)))
            client.client_kill_filter(_type="normal", skipme=True)
            await turns()
            assert await tier.get([key(0)]) == {key(0): answer(0)}
        assert metric("valence_redis_errors_total", operation="get") == errors

    run(redis_server.url, scenario)


def test_each_gets_its_own_whoever_leaves(redis_server: RedisServer, client: Redis) -> None:
    """Thousands of look-ups, some given up at any moment, writes between them: right answers, and nobody is left."""
    chance = random.Random(7)

    async def ask(tier: RedisTier) -> None:
        numbers = chance.choices(range(200), k=chance.randint(1, 8))
        found = await tier.get([key(number) for number in numbers])
        assert found == {key(number): answer(number) for number in numbers if number < 100}

    async def scenario(tier: RedisTier) -> None:
        await stored(tier, client, 100)
        asking: list[asyncio.Task[None]] = []
        for number in range(3_000):
            asking.append(asyncio.create_task(ask(tier)))
            if chance.random() < 0.3:
                chance.choice(asking).cancel()
            if chance.random() < 0.3:
                tier.put([(key(number % 100), answer(number % 100))])
            if chance.random() < 0.2:
                await asyncio.sleep(0)
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(result) for result in results} == {type(None), asyncio.CancelledError}

    run(redis_server.url, scenario, timeout_seconds=1)


def test_cut_connections_leave_nobody_waiting(redis_server: RedisServer, client: Redis) -> None:
    """However often Redis hangs up in the midst of it, each look-up ends, with the truth or with nothing."""
    chance = random.Random(7)

    async def ask(tier: RedisTier) -> bool:
        numbers = chance.choices(range(100), k=4)
        found = await tier.get([key(number) for number in numbers])
        assert found in ({}, {key(number): answer(number) for number in numbers})
        return bool(found)

    async def scenario(tier: RedisTier) -> None:
        await stored(tier, client, 100)
        for _ in range(30):
            asking = [asyncio.create_task(ask(tier)) for _ in range(50)]
            for _ in range(chance.randint(0, 4)):
                await asyncio.sleep(0)
            await asyncio.to_thread(client.client_kill_filter, _type="normal", skipme=True)
            await asyncio.gather(*asking)
        await until(lambda: not tier.open)
        assert await ask(tier)

    run(redis_server.url, scenario, timeout_seconds=1)
