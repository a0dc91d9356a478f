"""A Redis cluster: keys are spread over its masters, and a replica takes over when one of them dies."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from app.scoring.redis_tier import RedisTier
from tests.app.redis_tiers import answer, ask_on, key, metric, run, until, until_found
from tests.conftest import RedisServer, free_port
from tests.conftest import until as until_so

MASTERS = 3
SLOTS = 16_384
NUMBERS = range(300)


class Cluster:
    """Three masters, each with a replica."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.nodes: list[RedisServer] = []
        self.clients: list[Redis] = []
        self._options: list[list[str]] = []
        for number in range(2 * MASTERS):
            bus = free_port()
            options = {
                "cluster-enabled": "yes",
                "cluster-port": str(bus),
                "cluster-node-timeout": "1000",
                "cluster-config-file": f"nodes-{number}.conf",
            }
            self._options.append([word for name, value in options.items() for word in (f"--{name}", value)])
            node = RedisServer(folder, *self._options[-1])
            stack.callback(node.kill)
            self.nodes.append(node)
            self.clients.append(stack.enter_context(Redis(port=node.port)))
            self.clients[0].execute_command("CLUSTER MEET", "127.0.0.1", node.port, bus)
        until_so(lambda: all(self._known(client) == 2 * MASTERS for client in self.clients), "all nodes have met")
        for number, (master, replica) in enumerate(zip(self.clients[:MASTERS], self.clients[MASTERS:], strict=True)):
            first, end = (SLOTS * edge // MASTERS for edge in (number, number + 1))
            master.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
            replica.execute_command("CLUSTER REPLICATE", master.execute_command("CLUSTER MYID"))
        self.url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{self.nodes[1].port}"

    def first_shard(self) -> tuple[int, int]:
        """The numbers of its master and its replica: they change places with each failover."""
        pair = 0, MASTERS
        return pair if self.clients[0].role()[0] == b"master" else pair[::-1]

    @contextmanager
    def without(self, number: int) -> Iterator[None]:
        """Kill a node, and let it come back in the end, for the next test."""
        self.nodes[number].kill()
        yield
        self.nodes[number].start(*self._options[number])

    def await_agreement(self) -> None:
        """Return once all nodes are well and know it."""
        until_so(lambda: all(self._well(client) for client in self.clients), "all nodes agree")

    def _known(self, client: Redis) -> int:
        return int(client.cluster("info")["cluster_known_nodes"])

    def _well(self, client: Redis) -> bool:
        link = client.info("replication").get("master_link_status", "up")
        replicas = str(client.cluster("nodes")).count("slave")
        return client.cluster("info")["cluster_state"] == "ok" and link == "up" and replicas == MASTERS


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests: it takes seconds until its nodes agree."""
    with ExitStack() as stack:
        yield Cluster(tmp_path_factory.mktemp("cluster"), stack)


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """The shared one, well again."""
    shared.await_agreement()
    return shared


async def stored(tier: RedisTier) -> None:
    """Write all answers, and wait until all are found."""
    tier.put((key(number), answer(number)) for number in NUMBERS)
    for number in NUMBERS:
        await until_found(tier, number)


def test_keys_of_all_nodes_are_found_together(cluster: Cluster) -> None:
    """One look-up asks three masters, each for its own, and gets each answer under its key."""

    async def scenario(tier: RedisTier) -> None:
        await stored(tier)
        assert min(client.dbsize() for client in cluster.clients) > 0
        found = await tier.get([key(number) for number in range(2 * NUMBERS.stop)])
        assert found == {key(number): answer(number) for number in NUMBERS}

    run(cluster.url, scenario, timeout_seconds=1)


def test_moved_slots_are_followed(cluster: Cluster) -> None:
    """A replica takes over in good order, under load: MOVED leads to it, and nothing need be left alone."""

    async def scenario(tier: RedisTier) -> None:
        await stored(tier)
        over = asyncio.Event()
        asking = [asyncio.create_task(ask_on(tier, NUMBERS, over)) for _ in range(8)]
        replica = cluster.clients[cluster.first_shard()[1]]
        replica.execute_command("CLUSTER FAILOVER")
        await until(lambda: replica.role()[0] == b"master")
        await stored(tier)
        over.set()
        assert min(await asyncio.gather(*asking)) > 0

    run(cluster.url, scenario, timeout_seconds=1)


def test_failover_costs_misses_alone(cluster: Cluster) -> None:
    """A master dies under load: no look-up fails, none is wrong, and all is found again without our doing."""

    async def scenario(tier: RedisTier) -> None:
        await stored(tier)
        errors = metric("valence_redis_errors_total", operation="get")
        over = asyncio.Event()
        asking = [asyncio.create_task(ask_on(tier, NUMBERS, over)) for _ in range(8)]
        master, replica = cluster.first_shard()
        with cluster.without(master):
            await until(lambda: tier.open)
            await until(lambda: not tier.open)
            assert cluster.clients[replica].role()[0] == b"master"
            await stored(tier)
            over.set()
            assert min(await asyncio.gather(*asking)) > 0
        assert metric("valence_redis_errors_total", operation="get") > errors

    run(cluster.url, scenario)
