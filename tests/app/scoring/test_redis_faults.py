"""Redis behind the real service: shared by two, down, hung, full, foreign or locked, it fails no request."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

import httpx
import pytest
from redis import Redis

from tests.app import plain_http
from tests.conftest import RedisServer, Service, StartService, until

MODEL = 'valence_stage_duration_seconds_count{stage="inference"}'
LONG = "a truly wonderful film " * 500


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    """Another client of the same Redis."""
    with Redis.from_url(redis_server.url) as opened:
        yield opened


class Pair(NamedTuple):
    """Two services, as two pods, that share one Redis."""

    first: Service
    second: Service
    redis: RedisServer


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One pair for all tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("pair")
    with ExitStack() as stack:
        redis = RedisServer(folder)
        stack.callback(redis.kill)
        services = []
        for name in ("first", "second"):
            variables = {"VALENCE_REDIS_URL": redis.url, "VALENCE_DRAIN_SECONDS": "0"}
            services.append(Service(folder / f"{name}.log", **variables))
            stack.callback(services[-1].stop)
        first, second = (service.wait_ready() for service in services)
        yield Pair(first, second, redis)


@pytest.fixture
def pair(running: Pair) -> Pair:
    """The pair in good order, with an empty Redis; each test has texts of its own, since both remember theirs."""
    until(lambda: not any(map(breaker_open, running[:2])), "both use Redis")
    with Redis.from_url(running.redis.url) as opened:
        opened.flushall()
    return running


@pytest.fixture
def stored(pair: Pair) -> Iterator[Redis]:
    """Another client of the pair's Redis."""
    with Redis.from_url(pair.redis.url) as opened:
        yield opened


def predict(service: Service, *texts: str) -> httpx.Response:
    """Texts must be answered, whatever Redis does."""
    response = plain_http.post(service.url + "/predict", json={"text": texts})
    assert response.status_code == 200, response.text
    assert len(response.json()["predictions"]) == len(texts)
    return response


def failures(service: Service) -> float:
    """Failed or late calls so far: each of them is the most that a request ever waits for Redis."""
    return sum(service.metric(f'valence_redis_errors_total{{operation="{name}"}}') for name in ("get", "set"))


def breaker_open(service: Service) -> bool:
    """Whether Redis is left alone."""
    return service.metric("valence_redis_breaker_open") == 1


def assert_left_alone(service: Service) -> None:
    """Fifty unknown texts cost not one call: no request waits for Redis at all."""
    before = failures(service)
    for number in range(50):
        assert predict(service, f"left alone {number} {before}").headers["X-Cache"] == "0/1"
    assert failures(service) == before
    assert breaker_open(service)


def provoke(service: Service, before: float = 0) -> None:
    """Ask for unknown texts until the breaker opens, which takes few failures more than those `before`."""
    for number in range(20):
        predict(service, f"provoked {number} {before}")
        if breaker_open(service):
            break
    assert breaker_open(service)
    assert 3 <= failures(service) - before <= 6


def test_text_scored_by_one_service_is_a_hit_in_the_other(pair: Pair, stored: Redis) -> None:
    """Byte for byte the same answer, `X-Truncated` included; from then on it is known in process."""
    scored = predict(pair.first, "good", LONG)
    until(lambda: stored.dbsize() == 2, "both texts are written")
    inferences = pair.second.metric(MODEL)
    for source in ("redis", "memory"):
        texts = f'valence_cache_texts_total{{source="{source}"}}'
        before = pair.second.metric(texts)
        shared = predict(pair.second, "good", LONG)
        assert shared.content == scored.content
        assert (shared.headers["X-Cache"], shared.headers["X-Truncated"]) == ("2/2", "1")
        assert pair.second.metric(texts) == before + 2

        def summarised(source: str = source, after: float = before + 2) -> bool:
            seen = plain_http.get(pair.second.url + "/metrics/summary").json()["cache"]
            return bool(seen["sources"][source]["texts"] == after and seen["hit_ratio"] > 0)

        until(summarised, "the summary, up to a second old, counts them as hits")
    assert pair.second.metric(MODEL) == inferences


def test_entries_expire_and_hold_no_text(pair: Pair, stored: Redis) -> None:
    """Every key lives 162 to 180 seconds; neither it nor its value tells what was asked."""
    digest = plain_http.get(pair.first.url + "/model/info").json()["digest"]
    texts = [f"my neighbour's diary {number}" for number in range(50)]
    began = time.monotonic()
    predict(pair.first, *texts)
    until(lambda: stored.dbsize() == 50, "all texts are written")
    keys: list[Any] = list(stored.scan_iter())
    lives = [int(stored.pttl(key)) for key in keys]
    passed = (time.monotonic() - began) * 1000 + 1
    assert 162_000 - passed <= min(lives)
    assert max(lives) <= 180_000
    assert len(set(lives)) > 10  # spread, so that they do not expire together
    for key in keys:
        assert key.startswith(f"valence:{digest[:16]}:".encode())
        assert b"diary" not in key + stored.get(key)


def test_redis_that_is_down_at_start_is_found_later(start_service: StartService, redis_server: RedisServer) -> None:
    """The service starts without it, and uses it as soon as it is there."""
    redis_server.kill()
    started = start_service(VALENCE_REDIS_URL=redis_server.url).wait_ready()
    provoke(started)
    assert_left_alone(started)
    redis_server.start()
    until(lambda: not breaker_open(started), "the breaker closes")
    with Redis.from_url(redis_server.url) as client:
        predict(started, "written at last")
        until(lambda: client.dbsize() == 1, "the text is written")


def test_redis_killed_under_load_fails_no_request(pair: Pair) -> None:
    """Four clients never notice that Redis goes and comes back."""

    def ask(number: int) -> int:
        if number == 100:
            pair.redis.kill()
        return predict(pair.first, f"text {number}", f"text {number // 3}").status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(300))) == {200}
        assert breaker_open(pair.first)
        pair.redis.start()
        assert set(pool.map(ask, range(300, 400))) == {200}
    until(lambda: not breaker_open(pair.first), "the breaker closes")


def test_hung_redis_delays_few_requests_and_briefly(pair: Pair, stored: Redis) -> None:
    """At most six calls run into the timeout of 40 ms, then nobody waits; known texts never did; it heals by itself."""
    first, second, redis = pair
    predict(first, "known", "unknown to the second")
    until(lambda: stored.dbsize() == 2, "both texts are written")
    predict(second, "known")
    before = failures(second)
    redis.hang()
    try:
        assert predict(second, "known").headers["X-Cache"] == "1/1"
        assert failures(second) == before
        provoke(second, before)
        assert_left_alone(second)
    finally:
        redis.resume()
    until(lambda: not breaker_open(second), "the breaker closes")
    shared = predict(second, "unknown to the second")
    assert shared.headers["X-Cache"] == "1/1"
    assert shared.content == predict(first, "unknown to the second").content


def test_full_redis_is_still_read(pair: Pair, stored: Redis) -> None:
    """Writes are refused, which is counted and opens no breaker; what was stored before is still a hit."""
    first, second, _ = pair
    predict(first, "stored before")
    until(lambda: stored.dbsize() == 1, "the text is written")
    refused, missed = (f'valence_redis_errors_total{{operation="{name}"}}' for name in ("set", "get"))
    writes, reads = first.metric(refused), first.metric(missed)
    stored.config_set("maxmemory-policy", "noeviction")
    stored.config_set("maxmemory", "1mb")
    try:
        for number in range(10):
            predict(first, f"too late {number}")
        until(lambda: first.metric(refused) > writes, "a write is refused")
        assert first.metric(missed) == reads
        assert not breaker_open(first)
        assert predict(second, "stored before").headers["X-Cache"] == "1/1"
        assert stored.dbsize() == 1
    finally:
        stored.config_set("maxmemory", "0")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{port}/0", "redis://:wrong-horse@127.0.0.1:{port}/0"])
def test_locked_redis_is_left_alone(
    start_service: StartService, redis_server: RedisServer, client: Redis, url: str
) -> None:
    """No password, or the wrong one: predictions go on, and the log does not repeat it."""
    client.config_set("requirepass", "correct-horse")
    started = start_service(VALENCE_REDIS_URL=url.format(port=redis_server.port)).wait_ready()
    provoke(started)
    assert_left_alone(started)
    assert "horse" not in started.log.read_text()


@pytest.mark.parametrize("kind", ["http", "deaf"])
def test_something_else_on_the_port_is_left_alone(start_service: StartService, service: Service, kind: str) -> None:
    """An HTTP server, or one that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = service.url[7:] if kind == "http" else f"127.0.0.1:{deaf.getsockname()[1]}"
        started = start_service(VALENCE_REDIS_URL=f"redis://{address}/0").wait_ready()
        provoke(started)
        assert_left_alone(started)


def test_foreign_values_are_misses(pair: Pair, stored: Redis) -> None:
    """Whatever stands under our keys, an answer is whole and right."""
    first, second, client = *pair[:2], stored
    before, rejected = failures(second), second.metric("valence_redis_values_rejected_total")
    foreign = [
        b"",
        b"junk",
        b"\xff\x00",
        b"1",
        b'{"label": "POSITIVE"}',
        b'[{"label":"POSITIVE","score":1}]',
        b'2[{"a":1}]',
    ]
    texts = [f"text number {number}" for number in range(len(foreign) + 4)]
    right = [predict(first, text).content for text in texts]
    until(lambda: client.dbsize() == len(texts), "all texts are written")
    # Which key is whose text cannot be seen, and does not matter.
    keys: list[Any] = list(client.scan_iter())
    for key, value in zip(keys, foreign, strict=False):
        client.set(key, value)
    values: list[Any] = [client.get(key) for key in keys]
    client.set(keys[-2], values[-2][:-1])
    client.set(keys[-3], values[-1])  # another text's
    client.set(keys[-4], values[-4][:-1] + bytes([values[-4][-1] ^ 1]))  # another score
    client.delete(keys[-1])
    client.rpush(keys[-1], "a list")
    answers = [predict(second, text) for text in texts]
    assert [answer.content for answer in answers] == right
    assert {answer.headers["X-Cache"] for answer in answers} == {"0/1"}
    assert failures(second) == before
    # All but the list.
    assert second.metric("valence_redis_values_rejected_total") - rejected == len(texts) - 1


def test_pods_with_other_keys_believe_nothing_of_each_other(
    start_service: StartService, redis_server: RedisServer, client: Redis
) -> None:
    """VALENCE_CACHE_KEY is in every key and in every checksum."""
    keys = ("the first one's own", "the first one's own", "another one's own")
    started = [start_service(VALENCE_REDIS_URL=redis_server.url, VALENCE_CACHE_KEY=key) for key in keys]
    first, second, third = (service.wait_ready() for service in started)
    predict(first, "known to two")
    until(lambda: client.dbsize() == 1, "it is written")
    assert predict(second, "known to two").headers["X-Cache"] == "1/1"
    assert predict(third, "known to two").headers["X-Cache"] == "0/1"
