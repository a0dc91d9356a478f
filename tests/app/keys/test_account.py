"""What a caller may use: a bucket that fills by the second, a count that ends at midnight, and what other pods gave."""

from uuid import uuid4

import pytest

from app.errors import AppError, QuotaUsed, RateLimited
from app.keys.account import DAY_SECONDS, Account
from app.keys.file import Limits

NOON = 20_000 * DAY_SECONDS + DAY_SECONDS / 2


class Clock:
    """Tells the time that it is set to."""

    now = NOON

    def __call__(self) -> float:
        return self.now


def account(clock: Clock, **limits: int) -> Account:
    """A caller of these limits, with a name and so with series of its own."""
    made = Account(str(uuid4()), clock)
    made.set_limits(Limits(**limits))
    return made


def admitted(caller: Account, most: int = 1_000) -> int:
    """How many requests of one text are admitted, and answered, in a row."""
    for number in range(most):
        try:
            caller.admit()
        except AppError:
            return number
        caller.pay(1)
    return most


def told(caller: Account, texts: int = 1) -> str:
    """What is left, as the header has it, after so many texts."""
    ((name, value),) = caller.pay(texts)
    assert name == b"ratelimit"
    return value.decode()


def test_a_caller_without_limits_is_told_none() -> None:
    """And is never refused."""
    caller = account(Clock())
    assert admitted(caller) == 1_000
    assert caller.pay(128) == ()


def test_the_bucket_holds_a_burst_and_fills_by_the_second() -> None:
    """Not beyond the burst, however long the pause."""
    clock = Clock()
    caller = account(clock, texts_per_second=10, burst=30)
    assert admitted(caller) == 30
    clock.now += 1.5
    assert admitted(caller) == 15
    clock.now += 3_600
    assert admitted(caller) == 30
    clock.now -= 3_600  # the clock is set back
    assert admitted(caller) == 0
    clock.now += 1
    assert admitted(caller) == 10


def test_a_request_pays_for_all_its_texts() -> None:
    """Even beyond what is left: the next request waits until that is paid."""
    clock = Clock()
    caller = account(clock, texts_per_second=10)
    caller.admit()
    assert told(caller) == '"rate";r=9;t=1'
    caller.admit()
    assert told(caller, texts=30) == '"rate";r=0;t=4'
    with pytest.raises(RateLimited) as refused:
        caller.admit()
    assert refused.value.headers
    assert refused.value.headers == {
        "Retry-After": "3",  # 21 too many, and one for the next
        "RateLimit": '"rate";r=0;t=4',
        "RateLimit-Policy": '"rate";q=10;w=1;qu="texts"',
    }
    clock.now += 2.3
    assert admitted(caller) == 1


def test_the_quota_ends_at_midnight() -> None:
    """Until then every request is refused, with the time that is left."""
    clock = Clock()
    caller = account(clock, texts_per_second=1_000, burst=1_500, texts_per_day=200)
    caller.admit()
    caller.pay(200)
    with pytest.raises(QuotaUsed) as refused:
        caller.admit()
    assert refused.value.headers == {
        "Retry-After": str(DAY_SECONDS // 2),
        "RateLimit": f'"day";r=0;t={DAY_SECONDS // 2}',
        "RateLimit-Policy": '"rate";q=1500;w=2;qu="texts", "day";q=200;w=86400;qu="texts"',
    }
    clock.now += DAY_SECONDS / 2
    assert admitted(caller) == 200


def test_headers_tell_of_the_nearer_limit() -> None:
    """The burst while the day is long, the day when it is not."""
    clock = Clock()
    caller = account(clock, texts_per_second=5, texts_per_day=8)
    caller.admit()
    assert told(caller, texts=4) == '"rate";r=1;t=1'
    clock.now += 1
    caller.admit()
    assert told(caller) == f'"day";r=3;t={DAY_SECONDS // 2 - 1}'


def test_limits_change_and_what_was_used_stays_used() -> None:
    """More, less, none, and again."""
    caller = account(Clock(), texts_per_day=10)
    assert admitted(caller, most=6) == 6
    caller.set_limits(Limits(texts_per_day=8))
    assert admitted(caller) == 2
    caller.set_limits(Limits())
    assert admitted(caller, most=50) == 50
    caller.set_limits(Limits(texts_per_second=3))
    assert admitted(caller) == 3
    caller.set_limits(Limits())
    assert admitted(caller, most=50) == 50


def test_what_other_pods_gave_is_paid_here() -> None:
    """From the bucket and the day; what was given nobody knows when, from the day alone."""
    clock = Clock()
    caller = account(clock, texts_per_second=10, texts_per_day=100)
    caller.hear_of(40, None)
    assert admitted(caller, most=4) == 4
    caller.hear_of(50, 6)  # 4 of our own
    assert admitted(caller) == 0
    clock.now += 1
    caller.hear_of(0, -50)  # Redis was emptied
    assert admitted(caller) == 10
    caller.hear_of(20, None)
    clock.now += 4
    assert (caller.unshared, admitted(caller, most=100)) == (14, 10)
    for _ in range(3):
        clock.now += 1
        admitted(caller)
    clock.now += 1
    with pytest.raises(QuotaUsed):
        caller.admit()
