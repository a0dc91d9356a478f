"""The native kernel under AddressSanitizer and UndefinedBehaviorSanitizer: the tests' harness with more batches."""

import os
import subprocess
import sys

from bench.fuzz.part import Part
from load.programs import ROOT

HARNESS = "tests/app/model/native/test_transformer.py::test_no_byte_beside_its_memory_is_touched"
BATCHES = 40
"""Of each of three networks, by registers and by tiles."""
SKIPPED = "skipped"


def fuzz(part: Part) -> None:
    """Other networks and batches with each turn's seed."""
    for turn in part.turns():
        env = {**os.environ, "KERNEL_SEED": str(part.seed + turn), "KERNEL_BATCHES": str(BATCHES)}
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", HARNESS]
        done = subprocess.run(  # noqa: S603 - our own program
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            part.found(f"turn {turn}", done.stdout[-2_000:])
        elif SKIPPED in done.stdout:
            part.tried["skipped: no compiler, or a CPU without the kernel"] += 1
            break
        else:
            part.tried["batches"] += 2 * 3 * BATCHES
