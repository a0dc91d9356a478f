"""One limit for a caller of several pods: by a counter in Redis, which no request waits for.

Once a second each pod adds the texts that it has given a caller to the counter of the day, and takes what the others
have added since off the caller's account here. So every pod fills its bucket at the caller's whole rate, and every
bucket pays for the texts of all pods: what is given too much is what they give within that second. While Redis is down,
each pod counts alone, and tells the others when Redis is back.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog

from app.keys.account import DAY_SECONDS, Account
from app.scoring.redis import CONNECT_SECONDS, RedisClient, reason

CALL_SECONDS = 0.5
ACCOUNTS_PER_CALL = 100
"""More would keep the event loop busy for a millisecond and longer."""

log = structlog.get_logger()


class SharedUsage:
    """Exchanges usage with the other pods. Raises ValueError for a URL that redis-py cannot use."""

    def __init__(self, url: str) -> None:
        self._client = RedisClient(url)
        self._connected = False
        self._failing = False
        self._totals: dict[bytes, int] = {}
        """Counter -> what it last was; empty when that is long ago."""

    async def exchange(self, accounts: Sequence[Account]) -> None:
        """Tell and hear what was used. Never raises: what could not be told is told the next time."""
        totals: dict[bytes, int] = {}
        try:
            async with asyncio.timeout(CALL_SECONDS if self._connected else CONNECT_SECONDS):
                if not self._connected:
                    await self._client.connect()
                    self._connected = True
                for at in range(0, len(accounts), ACCOUNTS_PER_CALL):
                    totals |= await self._exchange(accounts[at : at + ACCOUNTS_PER_CALL])
        except Exception as exc:
            self._connected, totals = False, {}
            if not self._failing:
                log.warning("usage_not_shared", error=reason(exc))
        if self._failing and self._connected:
            log.info("usage_shared_again")
        self._failing, self._totals = not self._connected, totals

    async def close(self, accounts: Sequence[Account]) -> None:
        """Tell for the last time, and close the connections."""
        if self._connected:
            await self.exchange(accounts)
        await self._client.close()

    async def _exchange(self, accounts: Sequence[Account]) -> dict[bytes, int]:
        day = int(time.time() // DAY_SECONDS)
        told = [(b"valence:used:%d:%b" % (day, account.name.encode()), account.unshared) for account in accounts]
        totals = await self._client.add(told, seconds=2 * DAY_SECONDS)
        for account, (counter, own), total in zip(accounts, told, totals, strict=True):
            account.unshared -= own
            before = self._totals.get(counter)
            account.hear_of(total, None if before is None else total - own - before)
        return {counter: total for (counter, _), total in zip(told, totals, strict=True)}
