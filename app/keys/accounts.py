"""Every caller: found by a key, and kept as the file says, which may change at any time."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from app.keys.account import Account
from app.keys.file import digest_of, read_keys
from app.settings import SettingsError

if TYPE_CHECKING:
    from app.keys.shared import SharedUsage

PERIOD_SECONDS = 1.0
"""How far behind the file and the other pods are."""

log = structlog.get_logger()


class Accounts:
    """Reads the file at once, and raises SettingsError where it can't be used; later, a wrong file changes nothing."""

    def __init__(self, path: Path, redis_url: str | None) -> None:
        self._path = path
        self._by_name: dict[str, Account] = {}
        self._by_digest: dict[bytes, Account] = {}
        self._by_recent_key: dict[bytes, Account] = {}
        """The keys in the clear that were right within the last second or so: SHA-256 is most of what a key costs."""
        self._seen = self._state()
        self._read()
        self._shared = _shared(redis_url) if redis_url else None
        self._tasks: list[asyncio.Task[None]] = []

    def find(self, key: bytes) -> Account | None:
        """Whose key this is.

        How long the look-up takes tells nothing of any key: what is compared is a hash, Python's with the process's
        secret or SHA-256, whose bits nobody chooses. Wrong keys are never kept, so there are no more than in the file.
        """
        account = self._by_recent_key.get(key)
        if account is None:
            account = self._by_digest.get(digest_of(key))
            if account is not None:
                self._by_recent_key[key] = account
        return account

    def start(self) -> None:
        """Follow the file, forget the keys in the clear, and follow the other pods if there is a Redis."""
        steps = [self._follow_file, *([self._share] if self._shared else [])]
        self._tasks = [asyncio.create_task(periodically(step)) for step in steps]

    async def stop(self) -> None:
        """Tell the other pods what they do not know yet, and end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._shared is not None:
            await self._shared.close(list(self._by_name.values()))

    async def _share(self) -> None:
        assert self._shared is not None
        await self._shared.exchange(list(self._by_name.values()))

    async def _follow_file(self) -> None:
        self._by_recent_key.clear()  # in the step that also reads the file: what it took away is not known again
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._read()
            except SettingsError as exc:
                log.error("api_keys_not_read", reason=str(exc))  # noqa: TRY400 - the reason is the whole story

    def _state(self) -> object:
        """What changes with the file; a mounted Secret changes by a symbolic link to another one."""
        try:
            found = self._path.stat()
        except OSError as exc:
            return exc.errno
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> None:
        keys = read_keys(self._path)
        limits = {key.name: key.limits for key in keys}
        accounts = {name: self._by_name.get(name) or Account(name) for name in limits}
        for name, account in accounts.items():
            account.set_limits(limits[name])
        self._by_name = accounts
        self._by_digest = {key.digest: accounts[key.name] for key in keys}
        log.info("api_keys_read", keys=len(keys), callers=len(accounts))


def _shared(redis_url: str) -> "SharedUsage":
    """What exchanges usage with the other pods, by this Redis."""
    from app.keys.shared import SharedUsage  # noqa: PLC0415 - redis-py, which most do without

    return SharedUsage(redis_url)


async def periodically(step: Callable[[], Awaitable[None]]) -> None:
    """Take a step each `PERIOD_SECONDS`, until cancelled."""
    while True:
        await asyncio.sleep(PERIOD_SECONDS)
        await step()
