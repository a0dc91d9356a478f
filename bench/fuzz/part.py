"""What every part of the fuzzing is given, and what it gives back."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.sides import find_machine, running, service
from load.programs import Program

MAX_FINDINGS = 20
"""Of one part; what comes after it is most likely the same again."""
SHOWN_BYTES = 400


@dataclass
class Part:
    """One part of a run: for how long, from which seed, and what came of it."""

    seconds: float
    seed: int
    model_dir: Path
    tried: Counter[str] = field(default_factory=Counter)
    """How often each kind of thing was tried or seen."""
    findings: list[str] = field(default_factory=list)

    @property
    def source(self) -> random.Random:
        """The chance of this part, afresh from its seed."""
        return random.Random(self.seed)  # noqa: S311 - repeatable, guards nothing

    def turns(self) -> Iterator[int]:
        """Numbers from 0, until the time is over or there are enough findings."""
        deadline = time.monotonic() + self.seconds
        turn = 0
        while time.monotonic() < deadline and len(self.findings) < MAX_FINDINGS:
            yield turn
            turn += 1

    def found(self, what: str, evidence: bytes | str) -> None:
        """Note a finding, with the beginning of what shows it."""
        self.findings.append(f"{what}: {evidence[:SHOWN_BYTES]!r}")

    @contextmanager
    def service(self, **settings: str) -> Iterator[int]:
        """The service, whose port is given, and which must survive without an error in its log."""
        with running(find_machine(), service(self.model_dir, redis=False, **settings)) as (port, program):
            before = set(program.pids())
            yield port
            self._judge(program, before)

    def _judge(self, program: Program, before: set[int]) -> None:
        if died := before - set(program.pids()):
            self.found(f"{len(died)} processes of the service ended", program.log()[-SHOWN_BYTES:])
        for line in program.log().splitlines():
            if "Traceback" in line or '"level":"error"' in line or '"level":"critical"' in line:
                self.found("an error in the service's log", line)
