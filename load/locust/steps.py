"""Ever more users, 10 to MAX_USERS (10,000), in steps of STEP_SECONDS (30), until the knee is found.

The knee is the last step that still brought at least a tenth more answers a second. Two steps in a row without that, or
with more than 1 % failures, end the run. Use it beside the users:
locust -f load/locust/locustfile.py,load/locust/steps.py
"""

import logging
import os
import sys
import time

from locust import LoadTestShape
from locust.stats import StatsEntry

from load.locust.knee import MAX_FAILURES, Step, knee_of, stalled
from load.open_files import FileLimitError, allow_users

STEP_SECONDS = float(os.environ.get("STEP_SECONDS", "30"))
MAX_USERS = int(os.environ.get("MAX_USERS", "10000"))
USERS = [users for users in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000) if users <= MAX_USERS]
SETTLE_SHARE = 0.4
"""Share of a step that passes before it is measured: users are started in this time."""

log = logging.getLogger("load.steps")


class Steps(LoadTestShape):
    """Raises the users step by step; logs each step and, at the end, the knee."""

    def __init__(self) -> None:
        super().__init__()
        try:
            allow_users(USERS[-1])
        except FileLimitError as exc:
            sys.exit(f"error: {exc}, or fewer MAX_USERS")
        self._done: list[Step] = []
        self._step_began = 0.0
        self._settled = False
        self._since = (0.0, 0, 0)
        """When the measured part of the step began, and the requests and failures up to then."""

    def reset_time(self) -> None:
        """A new run from the web page starts from the first step."""
        super().reset_time()
        self._done, self._step_began = [], 0.0

    def tick(self) -> tuple[int, float] | None:
        """Users to have now and how many to start a second; None ends the run."""
        now = time.monotonic()
        if not self._step_began:
            self._begin_step(now)
        elapsed = now - self._step_began
        if elapsed >= STEP_SECONDS:
            self._finish_step(now)
            if self._over():
                log.info("%s", self.verdict())
                return None
            self._begin_step(now)
        elif not self._settled and elapsed >= SETTLE_SHARE * STEP_SECONDS:
            self._settled, self._since = True, (now, *self._counts())
        users = USERS[len(self._done)]
        return users, max(1.0, users / (SETTLE_SHARE * STEP_SECONDS))

    def _total(self) -> StatsEntry:
        assert self.runner is not None  # Locust sets it before the first tick
        return self.runner.stats.total

    def _counts(self) -> tuple[int, int]:
        return self._total().num_requests, self._total().num_failures

    def _begin_step(self, now: float) -> None:
        # Measured from here where the process stands still for a whole step, so that it never settles.
        self._step_began, self._settled, self._since = now, False, (now, *self._counts())

    def _finish_step(self, now: float) -> None:
        began, requests_before, failures_before = self._since
        requests, failures = self._counts()
        answered = requests - requests_before
        step = Step(
            USERS[len(self._done)],
            answered / (now - began),
            (failures - failures_before) / max(1, answered),
            self._total().get_current_response_time_percentile(0.99) or 0.0,
        )
        log.info(
            "%6d users: %8.1f answers/s, p99 %6.0f ms, %.2f %% failures",
            step.users, step.requests_per_second, step.p99_milliseconds, step.failure_share * 100,
        )  # fmt: skip
        self._done.append(step)

    def _over(self) -> bool:
        if len(self._done) == len(USERS) or self._done[-1].failure_share > MAX_FAILURES:
            return True
        return stalled(self._done)

    def verdict(self) -> str:
        """The knee in one sentence."""
        knee = knee_of(self._done)
        tail = "; it was not reached" if knee == len(self._done) - 1 else ""
        step = self._done[knee]
        figures = f"{step.requests_per_second:.0f} answers/s, p99 {step.p99_milliseconds:.0f} ms"
        return f"knee: {step.users} users, {figures}{tail}"
