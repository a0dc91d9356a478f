"""Numbered steps on standard error, so that minutes of work are never silent; standard output stays free."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Prints `[2/6] exporting to ONNX ... 3.9 s`, the seconds as soon as the step is over."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._step = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce the next step and time it. A step that raises ends its line, so that the error has its own."""
        self._step += 1
        began = time.monotonic()
        try:
            sys.stderr.write(f"[{self._step}/{self._steps}] {title} ...")
            sys.stderr.flush()
            yield
        except BaseException:
            note("")
            raise
        note(f" {time.monotonic() - began:.1f} s")


def note(message: str) -> None:
    """Write one line of its own."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
