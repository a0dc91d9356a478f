"""redis-py behind one URL (a single Redis, the master that sentinels name, or a cluster), and deadlines for its calls.

    redis://[[user]:password@]host[:port][/db]                      plain TCP
    rediss://...                                                    TLS; the server's certificate is checked
    unix://[[user]:password@]/path/to/socket[?db=0]                 a socket in the file system
    redis+sentinel://[[user]:password@]host[:port],host.../name[/db]    `name` is the master's; the sentinels' own
                                                                    credentials are options: sentinel_password
    redis+cluster://[[user]:password@]host[:port],host...           any nodes of the cluster; the others are found
    rediss+sentinel://..., rediss+cluster://...                     the same by TLS

Options behind a question mark are those of redis-py's connections, such as `ssl_ca_certs` (a file), `ssl_certfile` and
`ssl_keyfile` (our own certificate), `username`, `client_name`. Credentials are percent-encoded where needed.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from app.settings import redis_nodes

CONNECT_SECONDS = 2.0
"""For connecting and all that belongs to it. A lost SYN is sent again after one second."""
NODE_SECONDS = CONNECT_SECONDS / 4
"""One of several nodes may hang: the next one is asked after this time."""
MAX_KEYS_PER_CALL = 1_024


class Calls:
    """Tasks that are known until they have ended, even if nobody waits for them; a deadline holds whatever they do."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin it."""
        task = asyncio.create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # even if nobody waits for it
        return task

    async def within(self, seconds: float, call: Coroutine[Any, Any, Any]) -> Any:
        """What `call` returns. Raises TimeoutError when it is late by an eighth, and cancels it."""
        task = self.start(call)
        try:
            # The eighth is for a loop that was itself held up (CPU quota): it first reads what has arrived meanwhile.
            for wait in (seconds, seconds / 8):
                if not task.done():
                    await asyncio.wait([task], timeout=wait)
            if not task.done():
                raise TimeoutError(f"no answer within {seconds * 1000:g} ms")
            if task.cancelled():  # not by us, and it must end nothing else
                raise ConnectionError("the call was cancelled")
            return task.result()
        finally:
            if task.cancel():
                await asyncio.wait([task], timeout=seconds / 8)  # until it has given its connection back

    def cancel(self) -> None:
        """Ask all of them to end."""
        for task in self._tasks:
            task.cancel()

    async def wait(self, seconds: float) -> None:
        """Until all have ended, or the time is over."""
        await asyncio.wait(self._tasks, timeout=seconds)


class RedisClient:
    """Says what fails by exceptions, mostly redis-py's; the caller bounds the time.

    Raises ValueError, in one line and without credentials, for a URL that redis-py cannot use.
    """

    def __init__(self, url: str) -> None:
        self._sentinel: Sentinel | None = None
        # RESP2 and no CLIENT SETINFO: old servers and some proxies know no more. Our deadlines leave no time to retry.
        options: dict[str, Any] = {"protocol": 2, "driver_info": None, "retry": Retry(NoBackoff(), 0)}
        parts = urlsplit(url)
        try:
            if "+" in parts.scheme:
                options |= {"socket_timeout": NODE_SECONDS, "socket_connect_timeout": NODE_SECONDS}
                self._client = self._of_several(*parts.scheme.split("+"), url=url, options=options)
            else:
                options |= {"socket_timeout": None, "socket_connect_timeout": CONNECT_SECONDS}
                self._client = Redis.from_url(url, **options)
            self._check()
        except Exception as exc:  # redis-py says it by many types
            raise ValueError(str(exc).partition(" got an ")[2] or str(exc)) from exc

    def _of_several(self, scheme: str, kind: str, *, url: str, options: dict[str, Any]) -> Redis | RedisCluster:
        parts = urlsplit(url)
        credentials, at, hosts = parts.netloc.rpartition("@")
        nodes = redis_nodes(hosts, 26_379 if kind == "sentinel" else 6_379)
        name, _, db = parts.path.strip("/").partition("/") if kind == "sentinel" else ("", "", "")
        options |= parse_url(f"{scheme}://{credentials}{at}/{db}?{parts.query}")
        options["ssl"] = options.pop("connection_class", None) is SSLConnection
        if kind == "cluster":
            return RedisCluster(startup_nodes=[ClusterNode(*node) for node in nodes], **options)
        own = {option: options.pop(option) for option in list(options) if option.startswith("sentinel_")}
        shared = {option: value for option, value in options.items() if option not in ("db", "username", "password")}
        shared |= {option.removeprefix("sentinel_"): value for option, value in own.items()}
        self._sentinel = Sentinel(nodes, sentinel_kwargs=shared, **options)  # type: ignore[no-untyped-call]
        master: Redis = self._sentinel.master_for(unquote(name))
        return master

    def _check(self) -> None:
        """Have options and certificates looked at before the first connection."""
        if isinstance(self._client, RedisCluster):
            connection = ClusterNode("", 0, **self._client.connection_kwargs).acquire_connection()
        else:
            connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        if connection.encoder.decode_responses:
            raise ValueError("decode_responses should not be set: what is stored is no text")
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()

    async def connect(self) -> None:
        """New connections, one for look-ups and one for writes; or to the nodes that the cluster has now."""
        if isinstance(self._client, RedisCluster):
            await self._client.aclose()
            await self._client.initialize()
            return
        pool = self._client.connection_pool
        await pool.disconnect(inuse_connections=False)
        async with AsyncExitStack() as held:
            for _ in range(2):
                connection = await pool.get_connection()  # type: ignore[no-untyped-call]
                held.push_async_callback(pool.release, connection)

    async def mget(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """What stands under those keys that are there, in a few calls: a huge one would block Redis for all."""
        mget = self._client.mget_nonatomic if isinstance(self._client, RedisCluster) else self._client.mget
        found: dict[bytes, bytes] = {}
        for at in range(0, len(keys), MAX_KEYS_PER_CALL):
            asked = keys[at : at + MAX_KEYS_PER_CALL]
            values: object = await mget(asked)
            if not isinstance(values, list) or len(values) != len(asked):
                raise RedisError(f"{len(asked)} keys are answered with {values!r:.100}")
            found |= {key: value for key, value in zip(asked, values, strict=True) if isinstance(value, bytes)}
        return found

    async def set(self, items: Sequence[tuple[bytes, bytes, int]]) -> list[Exception]:
        """Store values under keys for so many milliseconds, and return the reasons for those that are refused."""
        pipeline = self._client.pipeline(transaction=False)
        for key, value, milliseconds in items:
            pipeline.set(key, value, px=milliseconds)
        errors = [reply for reply in await pipeline.execute(raise_on_error=False) if isinstance(reply, Exception)]
        for error in errors:
            if not isinstance(error, ResponseError):  # a node that is gone
                raise error
        return errors

    async def add(self, items: Sequence[tuple[bytes, int]], *, seconds: int) -> list[int]:
        """Add to counters, which are kept for so many seconds from now on, and return what they are then."""
        pipeline = self._client.pipeline(transaction=False)
        for key, amount in items:
            pipeline.incrby(key, amount)
            pipeline.expire(key, seconds)
        counts = (await pipeline.execute())[::2]
        if len(counts) != len(items) or not all(isinstance(count, int) and count >= 0 for count in counts):
            raise RedisError(f"{len(items)} counters are answered with {counts!r:.100}")
        return counts

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()


def reason(exc: Exception) -> str:
    """What failed, for the log."""
    return f"{type(exc).__name__}: {exc}"[:200]  # redis-py tells all it knows of each sentinel
