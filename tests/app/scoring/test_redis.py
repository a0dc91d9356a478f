"""Every way to one Redis, and servers that answer with errors, with nonsense, in parts, late or not at all."""

import asyncio
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

import hiredis
import pytest
from redis import Redis
from structlog.testing import capture_logs

from app.scoring.redis_tier import FAILURES_TO_OPEN, RedisTier
from tests.app.redis_tiers import SECRET, STORED, answer, key, metric, run, until, until_found
from tests.conftest import RedisServer

Respond = Callable[[list[bytes]], bytes | None]
"""A command -> what the server says; None: it hangs up."""
OK, MISS = b"+OK\r\n", b"*1\r\n$-1\r\n"


class ScriptedServer:
    """Speaks RESP as it is told to; `respond` may be exchanged at any time."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.commands: list[list[bytes]] = []
        self.url = ""
        self.going = asyncio.Event()
        """Cleared: nothing is answered."""
        self.going.set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://:horse@127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        with suppress(ConnectionError):
            await self._converse(reader, writer)
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = hiredis.Reader()
        while data := await reader.read(65_536):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                self.commands.append(command)
                await self.going.wait()
                said = self.respond(command)
                if said is None:
                    return
                writer.write(said)


def healthy(command: list[bytes]) -> bytes:
    """A Redis that knows nothing."""
    if command[0] == b"MGET":
        return b"*%d\r\n" % (len(command) - 1) + b"$-1\r\n" * (len(command) - 1)
    return OK


def instead(name: bytes, said: bytes | None) -> Respond:
    """A healthy Redis but for one command."""
    return lambda command: said if command[0] == name else healthy(command)


def against(
    respond: Respond, scenario: Callable[[ScriptedServer, RedisTier], Awaitable[None]], timeout_seconds: float = 0.5
) -> list[str]:
    """Run `scenario` with a tier and its server; return what was logged as errors, in order."""

    async def main() -> None:
        async with (
            asyncio.timeout(30),
            ScriptedServer(respond) as server,
            RedisTier(server.url, timeout_seconds=timeout_seconds, ttl_seconds=100, secret=SECRET, labels=4) as tier,
        ):
            await scenario(server, tier)

    with capture_logs() as logs:
        asyncio.run(main())
    return [str(entry.get("error")) for entry in logs if entry["log_level"] == "warning"]


@pytest.fixture(autouse=True)
def _retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.scoring.redis_tier.RETRY_SECONDS", 0.01)


async def fail_and_heal(server: ScriptedServer, tier: RedisTier) -> None:
    """Every look-up is a miss until the breaker opens; it stays open, and closes when the server is healthy."""
    errors = metric("valence_redis_errors_total", operation="get")
    for failed in range(FAILURES_TO_OPEN):
        assert not tier.open
        assert await tier.get([key(1)]) == {}
        # The miss may come first, where the loop was held up: its own timer gives it.
        counted = errors + failed
        await until(lambda counted=counted: metric("valence_redis_errors_total", operation="get") > counted)
    assert tier.open
    assert metric("valence_redis_errors_total", operation="get") == errors + FAILURES_TO_OPEN
    seen = len(server.commands)
    await until(lambda: len(server.commands) > seen + 3)  # it is looked after
    assert tier.open
    server.respond = healthy
    await until(lambda: not tier.open)
    seen = len(server.commands)
    assert await tier.get([key(1)]) == {}
    assert server.commands[seen:] == [[b"MGET", key(1)]]


@pytest.mark.parametrize(
    ("name", "said", "reason"),
    [
        ("MGET", "-LOADING Redis is loading the dataset in memory", "BusyLoadingError: Redis is loading"),
        ("MGET", "-MASTERDOWN Link with MASTER is down", "MasterDownError: Link with MASTER is down"),
        ("MGET", "-MOVED 3999 127.0.0.1:6381", "MovedError: 3999 127.0.0.1:6381"),
        ("MGET", "-CROSSSLOT Keys in request don't hash", "ClusterCrossSlotError: Keys in request don't hash"),
        ("MGET", "-NOPERM this user has no permissions", "NoPermissionError: this user has no permissions"),
        ("AUTH", "-WRONGPASS invalid username-password pair", "AuthenticationError: invalid username-password pair"),
        ("AUTH", "-ERR max number of clients reached", "max number of clients reached"),
        ("MGET", "-NOAUTH Authentication required.", "AuthenticationError: Authentication required."),
    ],
)
def test_error_to_a_look_up_opens_the_breaker(name: str, said: str, reason: str) -> None:
    """The log has Redis' own words, once, and no password."""
    (error,) = against(instead(name.encode(), f"{said}\r\n".encode()), fail_and_heal)
    assert reason in error
    assert "horse" not in error


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"*2\r\n$-1\r\n", "no answer within 200 ms"),
        (b"", "no answer within 200 ms"),
        (None, "Connection closed by server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Protocol error"),
        (b"+OK\r\n", "1 keys are answered with b'OK'"),
        (b":1\r\n", "1 keys are answered with 1"),
        (b"*0\r\n", "1 keys are answered with []"),
        (b"*3\r\n$1\r\na\r\n$-1\r\n$-1\r\n", "1 keys are answered with [b'a', None, None]"),
        (b"_\r\n", "1 keys are answered with None"),
    ],
)
def test_nonsense_to_a_look_up_opens_the_breaker(said: bytes | None, reason: str) -> None:
    """Half a reply, none, too many values, other types, another protocol."""
    assert reason in against(instead(b"MGET", said), fail_and_heal, timeout_seconds=0.2)[0]


@pytest.mark.parametrize(
    "value", [b":7\r\n", b"*1\r\n$1\r\na\r\n", b"-ERR inside\r\n", b"+[{}]\r\n", b"$4\r\n2[{}\r\n"]
)
def test_value_that_is_not_ours_is_a_miss(value: bytes) -> None:
    """A number, a list or an error where an answer should be spoils nothing."""

    async def scenario(_: ScriptedServer, tier: RedisTier) -> None:
        for _ in range(2 * FAILURES_TO_OPEN):
            assert await tier.get([key(1)]) == {}
        assert not tier.open

    assert against(instead(b"MGET", b"*1\r\n" + value), scenario) == []


def test_more_than_was_asked_for_answers_nobody() -> None:
    """What comes after a reply is not taken for the answer to the next question."""
    value = STORED.pack(key(2), answer(2))
    surplus = b"*1\r\n$%d\r\n%s\r\n" % (len(value), value)

    async def scenario(server: ScriptedServer, tier: RedisTier) -> None:
        assert await tier.get([key(1)]) == {}
        server.respond = healthy
        assert await tier.get([key(2)]) == {}
        assert server.commands[-1] == [b"MGET", key(2)]
        assert not tier.open

    assert against(instead(b"MGET", MISS + surplus), scenario) == []


def test_slow_connection_holds_up_nobody_and_fails_nothing() -> None:
    """Logging in takes longer than a look-up may: the first waits its time, the others not at all, and none counts."""

    async def scenario(server: ScriptedServer, tier: RedisTier) -> None:
        errors = metric("valence_redis_errors_total", operation="get")
        server.going.clear()
        assert await tier.get([key(1)]) == {}
        for number in range(1_000):  # would take a minute if each waited
            assert await tier.get([key(number)]) == {}
        server.going.set()
        while [b"MGET", key(1)] not in server.commands:
            assert await tier.get([key(1)]) == {}
            await asyncio.sleep(0)
        assert not tier.open
        assert metric("valence_redis_errors_total", operation="get") == errors
        assert [command[0] for command in server.commands].count(b"AUTH") == 2  # no attempt was given up

    assert against(healthy, scenario, timeout_seconds=0.06) == []


def test_proxy_that_knows_nothing_else_is_enough() -> None:
    """Nothing is sent but `AUTH`, `MGET` and `SET`: no `CLIENT`, no `HELLO`, no `PING`."""

    def proxy(command: list[bytes]) -> bytes:
        if command[0] in (b"AUTH", b"MGET", b"SET"):
            return healthy(command)
        return b"-unsupported command '%s'\r\n" % command[0]

    async def scenario(server: ScriptedServer, tier: RedisTier) -> None:
        assert await tier.get([key(1)]) == {}
        tier.put([(key(1), answer(1))])
        await until(lambda: b"SET" in [command[0] for command in server.commands])
        assert {command[0] for command in server.commands} == {b"AUTH", b"MGET", b"SET"}

    assert against(proxy, scenario) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("OOM command not allowed", "OutOfMemoryError: command not allowed"),
        ("READONLY You can't write", "ReadOnlyError: You can't write"),
        ("MISCONF Redis is configured", "ResponseError: MISCONF Redis is configured"),
    ],
)
def test_refused_write_opens_nothing(said: str, reason: str) -> None:
    """It is counted, logged once a minute, and reading goes on."""

    async def scenario(_: ScriptedServer, tier: RedisTier) -> None:
        dropped = metric("valence_redis_writes_dropped_total")
        for number in range(2 * FAILURES_TO_OPEN):
            tier.put([(key(number), answer(number))])
            await until(lambda number=number: metric("valence_redis_writes_dropped_total") == dropped + number + 1)
        assert not tier.open
        assert await tier.get([key(1)]) == {}

    assert against(instead(b"SET", f"-{said}\r\n".encode()), scenario) == [reason]


@pytest.mark.parametrize("said", [b"", None], ids=["hangs", "hangs up"])
def test_unanswered_writes_open_the_breaker(said: bytes | None) -> None:
    """And are counted as dropped, with all that waits behind them."""

    async def scenario(_: ScriptedServer, tier: RedisTier) -> None:
        dropped = metric("valence_redis_writes_dropped_total")
        tier.put((key(number), answer(number)) for number in range(1_000))
        await until(lambda: tier.open)
        assert metric("valence_redis_writes_dropped_total") == dropped + 1_000

    against(instead(b"SET", said), scenario, timeout_seconds=0.05)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://127.0.0.1:1/0", "Error 111 connecting to 127.0.0.1:1"),
        ("redis://no-such-host.invalid/0", "connecting to no-such-host.invalid:6379"),
        ("unix:///not/there.sock", "Error 2 connecting to /not/there.sock"),
    ],
)
def test_what_cannot_be_reached_is_left_alone(url: str, reason: str) -> None:
    """Nothing listens, nobody knows the name, or there is no socket."""

    async def scenario(tier: RedisTier) -> None:
        while not tier.open:
            assert await tier.get([key(1)]) == {}

    with capture_logs() as logs:
        run(url, scenario, timeout_seconds=1)
    assert reason in logs[0]["error"]


def round_trip(url: str) -> None:
    """What is written is read."""

    async def scenario(tier: RedisTier) -> None:
        tier.put([(key(1), answer(1))])
        await until_found(tier, 1)

    run(url, scenario, timeout_seconds=1)


def test_user_password_and_database(redis_server: RedisServer) -> None:
    """Those of the URL, and a right to little else."""
    with Redis.from_url(redis_server.url) as admin:
        admin.acl_setuser(
            "valence", enabled=True, passwords=["+p@ss/word"], keys=["valence:*"], commands=["+mget", "+set", "+select"]
        )
        round_trip(f"redis://valence:{quote('p@ss/word', safe='')}@127.0.0.1:{redis_server.port}/3")
        assert admin.info("keyspace")["db3"]["keys"] == 1


def test_unix_socket(redis_server: RedisServer, tmp_path: Path) -> None:
    """By its path."""
    redis_server.kill()
    redis_server.start("--unixsocket", str(tmp_path / "redis.sock"))
    round_trip(f"unix://{tmp_path}/redis.sock?db=2")


@pytest.fixture
def certificate(redis_server: RedisServer, tmp_path: Path) -> Path:
    """Redis speaks TLS alone, and asks for certificates, too; the folder of the one that all use, for "localhost"."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", *files],
        check=True, capture_output=True,
    )  # fmt: skip
    redis_server.kill()
    paths = {"cert": tmp_path / "cert.pem", "key": tmp_path / "key.pem", "ca-cert": tmp_path / "cert.pem"}
    options = [word for name, path in paths.items() for word in (f"--tls-{name}-file", str(path))]
    redis_server.start("--port", "0", "--tls-port", str(redis_server.port), *options)
    return tmp_path


@pytest.mark.parametrize("check", ["ssl_ca_certs={0}/cert.pem", "ssl_cert_reqs=none"])
def test_tls(redis_server: RedisServer, certificate: Path, check: str) -> None:
    """With a certificate of its own, Redis' certificate checked or, if that is said, not."""
    own = f"ssl_certfile={certificate}/cert.pem&ssl_keyfile={certificate}/key.pem"
    round_trip(f"rediss://localhost:{redis_server.port}/0?{own}&{check.format(certificate)}")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("rediss://localhost:{1}/0", "CERTIFICATE_VERIFY_FAILED"),
        ("rediss://127.0.0.1:{1}/0?ssl_ca_certs={0}/cert.pem", "IP address mismatch"),
        ("redis://localhost:{1}/0", "onnection"),
    ],
)
def test_tls_that_cannot_be_trusted(redis_server: RedisServer, certificate: Path, url: str, reason: str) -> None:
    """An authority that nobody knows, another's certificate, and no TLS at all: nothing is asked or written."""

    async def scenario(tier: RedisTier) -> None:
        while not tier.open:
            assert await tier.get([key(1)]) == {}

    with capture_logs() as logs:
        run(url.format(certificate, redis_server.port), scenario, timeout_seconds=1)
    assert reason in logs[0]["error"]
