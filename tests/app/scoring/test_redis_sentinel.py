"""Redis behind sentinels: the master is found by its name, and a new one when it dies."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotYet
from redis.exceptions import ResponseError
from redis.retry import Retry

from app.scoring.redis_tier import RedisTier
from tests.app.redis_tiers import answer, ask_on, key, metric, run, until, until_found
from tests.conftest import RedisServer, free_port
from tests.conftest import until as until_so

NUMBERS = range(100)
MASTER, SENTINELS = "horse", "donkey"
"""Their passwords."""
OPTIONS = ("--requirepass", MASTER, "--masterauth", MASTER)
CONFIG = """
port {port}
dir {folder}
logfile sentinel.log
requirepass {sentinels}
sentinel sentinel-pass {sentinels}
sentinel monitor mymaster 127.0.0.1 {master} 2
sentinel auth-pass mymaster {password}
sentinel down-after-milliseconds mymaster 500
sentinel failover-timeout mymaster 1000
"""


def client(port: int, *, password: str = MASTER, db: int = 1) -> Redis:
    """A client of one server."""
    # A server that changes its role ends its connections, also twice within a failover.
    return Redis.from_url(f"redis://:{password}@127.0.0.1:{port}/{db}", protocol=2, retry=Retry(NoBackoff(), 10))


class Guarded:
    """A master, a replica and three sentinels, with passwords."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._stack = stack
        first = self._server(folder, *OPTIONS)
        self._servers = first, self._server(folder, *OPTIONS, "--replicaof", f"127.0.0.1 {first.port}")
        self._sentinels = [self._sentinel(folder / f"sentinel-{number}") for number in range(3)]
        # The first is not there, nor are all named: the others are asked.
        hosts = ",".join(f"127.0.0.1:{port}" for port in [free_port(), *self._sentinels[:2]])
        self.url = f"redis+sentinel://:{MASTER}@{hosts}/mymaster/1?sentinel_password={SENTINELS}"

    def _server(self, folder: Path, *options: str) -> RedisServer:
        server = RedisServer(folder, *options)
        self._stack.callback(server.kill)
        return server

    def _sentinel(self, folder: Path) -> int:
        folder.mkdir()
        port, config = free_port(), folder / "sentinel.conf"
        values = {
            "port": port,
            "folder": folder,
            "master": self._servers[0].port,
            "password": MASTER,
            "sentinels": SENTINELS,
        }
        config.write_text(CONFIG.format(**values))
        command = [str(shutil.which("redis-server")), str(config), "--sentinel"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return port

    def pair(self) -> tuple[RedisServer, RedisServer]:
        """The master and the replica: they change places with each failover."""
        with client(self._servers[0].port) as first:
            return self._servers if first.role()[0] == b"master" else self._servers[::-1]

    @contextmanager
    def without(self, master: RedisServer, replica: RedisServer) -> Iterator[None]:
        """Kill the master, and let it come back in the end as the replica of its successor, for the next test."""
        master.kill()
        yield
        master.start(*OPTIONS, "--replicaof", f"127.0.0.1 {replica.port}")

    def fails_over(self) -> bool:
        """Whether a sentinel promotes the replica now: it must have heard lately that it is well."""
        with client(self._sentinels[0], password=SENTINELS, db=0) as sentinel, suppress(ResponseError):
            sentinel.sentinel_failover("mymaster")
            return True
        return False

    def await_agreement(self) -> None:
        """Return once all sentinels know each other, the master and its replica."""
        until_so(self._complete, "all sentinels know each other and the replica")

    def _complete(self) -> bool:
        master, other = self.pair()
        for port in self._sentinels:
            with client(port, password=SENTINELS, db=0) as sentinel:
                try:
                    state = sentinel.sentinel_masters()["mymaster"]
                    (replica,) = sentinel.sentinel_slaves("mymaster")
                except (NotYet, ValueError):
                    return False
            if state["num-other-sentinels"] != 2 or state["port"] != master.port or replica["is_disconnected"]:
                return False
        with client(other.port) as connected:
            return connected.info("replication").get("master_link_status") == "up"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One set for all tests: it takes seconds until the sentinels know each other."""
    with ExitStack() as stack:
        yield Guarded(tmp_path_factory.mktemp("sentinels"), stack)


@pytest.fixture
def guarded(shared: Guarded) -> Guarded:
    """The shared one, well again."""
    shared.await_agreement()
    return shared


def test_master_is_found_by_its_name(guarded: Guarded) -> None:
    """What is written stands in the master's database of the URL."""

    async def scenario(tier: RedisTier) -> None:
        tier.put([(key(1), answer(1))])
        await until_found(tier, 1)
        with client(guarded.pair()[0].port) as master:
            assert master.exists(key(1))

    run(guarded.url, scenario, timeout_seconds=1)


async def stored(tier: RedisTier) -> None:
    """Write all answers, and wait until all are found."""
    tier.put((key(number), answer(number)) for number in NUMBERS)
    for number in NUMBERS:
        await until_found(tier, number)


def test_failover_costs_misses_alone(guarded: Guarded) -> None:
    """The master dies under load: no look-up fails, none is wrong, and the new master is found without our doing."""

    async def scenario(tier: RedisTier) -> None:
        errors = metric("valence_redis_errors_total", operation="get")
        await stored(tier)
        over = asyncio.Event()
        asking = [asyncio.create_task(ask_on(tier, NUMBERS, over)) for _ in range(8)]
        master, replica = guarded.pair()
        with guarded.without(master, replica), client(replica.port) as promoted:
            await until(lambda: tier.open)
            await until(lambda: not tier.open)
            assert promoted.role()[0] == b"master"
            tier.put([(key(1_000), answer(1_000))])
            await until_found(tier, 1_000)
            assert promoted.exists(key(1_000))
        await stored(tier)
        over.set()
        assert min(await asyncio.gather(*asking)) > 0
        assert metric("valence_redis_errors_total", operation="get") > errors

    run(guarded.url, scenario)


def test_demoted_master_is_left(guarded: Guarded) -> None:
    """The master lives on as a replica, which says READONLY to writes: they go to the new one."""

    async def scenario(tier: RedisTier) -> None:
        tier.put([(key(1), answer(1))])
        await until_found(tier, 1)
        _, replica = guarded.pair()
        await asyncio.to_thread(until_so, guarded.fails_over, "a sentinel agrees to a failover")
        with client(replica.port) as promoted:
            number = 1
            while not promoted.exists(key(number)) or promoted.role()[0] != b"master":
                number += 1
                tier.put([(key(number), answer(number))])
                await asyncio.sleep(0.02)
            await until_found(tier, number)

    run(guarded.url, scenario)
