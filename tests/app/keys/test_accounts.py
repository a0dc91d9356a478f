"""Callers found by their keys, and how long a key in the clear is kept for that."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from sys import getrefcount

from app.keys.accounts import PERIOD_SECONDS, Accounts
from tests.app.keys.keys import line
from tests.conftest import START_SECONDS


def key_of(name: str) -> bytes:
    """A key that only its test knows, so that nothing else refers to it."""
    return b"key-of-" + name.encode()


async def turns_true(condition: Callable[[], bool]) -> None:
    """Wait for the event loop's other tasks to make it so."""
    async with asyncio.timeout(START_SECONDS):
        while not condition():  # noqa: ASYNC110 - there is no event: a period passes
            await asyncio.sleep(PERIOD_SECONDS / 10)


def test_a_key_taken_away_is_unknown_though_it_was_just_used(tmp_path: Path) -> None:
    """Asked for all the time, from before the change of the file until it is read."""

    async def rotate() -> None:
        file = tmp_path / "keys"
        file.write_text(line("shop", "old") + line("other", "kept"))
        accounts = Accounts(file, redis_url=None)
        accounts.start()
        shop = accounts.find(b"old")
        assert (shop and shop.name, accounts.find(b"old")) == ("shop", shop)
        (tmp_path / "new").write_text(line("shop", "new") + line("other", "kept"))
        (tmp_path / "new").replace(file)
        await turns_true(lambda: accounts.find(b"old") is None)
        assert accounts.find(b"new") is shop
        await accounts.stop()

    asyncio.run(rotate())


def test_a_right_key_is_kept_for_a_moment_and_a_wrong_one_never(tmp_path: Path) -> None:
    """The references to the presented bytes tell: one for a right key, until the file is looked at again."""

    async def present() -> None:
        file = tmp_path / "keys"
        file.write_text(line("shop", key_of("shop").decode()))
        accounts = Accounts(file, redis_url=None)
        right, wrong = key_of("shop"), key_of("nobody")
        before = getrefcount(right), getrefcount(wrong)
        assert (accounts.find(right) is not None, accounts.find(wrong)) == (True, None)
        assert (getrefcount(right), getrefcount(wrong)) == (before[0] + 1, before[1])
        accounts.start()
        await turns_true(lambda: getrefcount(right) == before[0])
        assert accounts.find(right) is not None
        await accounts.stop()

    asyncio.run(present())
