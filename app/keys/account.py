"""What one caller has used and may still use, in texts: a token bucket for the rate, a count for the day.

A request is admitted while there is anything left, and pays for its texts when it is answered: one rule for every
protocol. The last request before the limit may therefore take more than is left; the next ones wait until that is paid.

What is left is told as draft-ietf-httpapi-ratelimit-headers-10 has it: `RateLimit: "rate";r=9;t=1` is nine texts now,
and all of them in a second.
"""

import time
from collections.abc import Callable
from math import ceil, inf

from app.errors import AppError, QuotaUsed, RateLimited
from app.keys.file import Limits
from app.telemetry.metrics import KEY_LIMITED, KEY_TEXTS

DAY_SECONDS = 86_400

Headers = tuple[tuple[bytes, bytes], ...]


class Account:
    """One caller, whatever the number of their keys. `clock` tells the seconds since 1970."""

    def __init__(self, name: str, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.unshared = 0
        """Texts that no other pod has been told of yet."""
        self._clock = clock
        self._limited = KEY_LIMITED.labels(name)
        self._texts = KEY_TEXTS.labels(name)
        self._at = 0.0
        self._midnight = 0.0
        self._used_today = 0
        self._level = inf
        self.set_limits(Limits())

    def set_limits(self, limits: Limits) -> None:
        """Take limits that may have changed; what has been used stays used."""
        self._rate = limits.texts_per_second or 0
        self._burst: float = limits.burst or limits.texts_per_second or inf
        self._level = min(self._level, self._burst) if self._rate else inf
        self._per_day: float = limits.texts_per_day or inf
        policies = [("rate", self._burst, ceil(self._burst / self._rate))] if self._rate else []
        policies += [("day", self._per_day, DAY_SECONDS)] if limits.texts_per_day else []
        self._policy = ", ".join(f'"{name}";q={most};w={seconds};qu="texts"' for name, most, seconds in policies)

    def admit(self) -> None:
        """Begin a request, and take its first text from the bucket. Raises RateLimited or QuotaUsed."""
        if self._policy:
            self._refill()
            if self._level < 1 or self._used_today >= self._per_day:
                raise self._refusal()
            self._level -= 1

    def pay(self, texts: int) -> Headers:
        """Pay for a request of so many texts that is answered now, and say how much is left."""
        self._level -= texts - 1
        self._used_today += texts
        self.unshared += texts
        self._texts.inc(texts)
        return ((b"ratelimit", self._left()),) if self._policy else ()

    def hear_of(self, today: int, others: int | None) -> None:
        """Count what other pods have given: all pods since midnight, the others lately; None: nobody knows when."""
        self._refill()
        if others is None:
            self._used_today = max(self._used_today, today)
        else:  # negative where Redis has lost its counter
            self._level -= max(0, others)
            self._used_today += max(0, others)

    def _refill(self) -> None:
        now = self._clock()
        if now > self._at:
            self._level += (now - self._at) * self._rate
            self._level = min(self._level, self._burst)
        self._at = now
        if now >= self._midnight:
            self._midnight = now - now % DAY_SECONDS + DAY_SECONDS
            self._used_today = 0

    def _left(self) -> bytes:
        """Of the limit that is nearer: texts, and the seconds after which there are as many as there can be."""
        name, left = b"rate", self._level
        if (left_today := self._per_day - self._used_today) < left:
            name, left, reset = b"day", left_today, self._midnight - self._at
        else:
            reset = (self._burst - left) / self._rate
        return b'"%b";r=%d;t=%d' % (name, max(0, left), ceil(reset))

    def _refusal(self) -> AppError:
        self._limited.inc()
        refusal: type[AppError] = RateLimited
        msg, seconds = f"{self.name} may ask for {self._rate} texts a second", (1 - self._level) / (self._rate or 1)
        if self._used_today >= self._per_day:
            refusal, seconds = QuotaUsed, self._midnight - self._at
            msg = f"the {self._per_day} texts that {self.name} may ask for in a day are used up"
        headers = {
            "Retry-After": str(max(1, ceil(seconds))),
            "RateLimit": self._left().decode(),
            "RateLimit-Policy": self._policy,
        }
        return refusal(msg, headers=headers)
