"""A run that was interrupted goes on where it stood, and ends as if it had not been.

Its state is one file beside the output, as large as four times the weights: written on Ctrl-C or SIGTERM, and every
five minutes against a power cut; removed when the checkpoint is in its place. Equal to the bit on the same machine
with the same number of threads.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from model_export.errors import ExportError, one_line
from model_export.finetune.fit import Fit

SAVE_SECONDS = 300.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)

Asked = Callable[[], bool]
"""Whether the run was asked to stop."""


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; its state is saved."""


class State:
    """The file beside the output. `identity` says what a run must have in common with the one that is continued."""

    def __init__(self, output: Path, identity: Mapping[str, str]) -> None:
        self.path = output.with_name(f"{output.name}.resume")
        self._identity = dict(identity)

    def save(self, run: Fit) -> None:
        """Replace the file by one of `run` as it stands. Raises ExportError where there is no room."""
        part = self.path.with_name(f"{self.path.name}.part")
        try:
            with part.open("wb") as file:
                torch.save({"identity": self._identity, "run": run.state()}, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        except (OSError, RuntimeError) as exc:
            part.unlink(missing_ok=True)
            raise ExportError(f"cannot save the state of the run as {self.path}: {one_line(exc)}") from exc

    def restore(self, run: Fit) -> bool:
        """Have `run` stand where the file says; False where there is none.

        Raises ExportError for a file of another run, and for one that can't be read.
        """
        if not self.path.exists():
            return False
        try:
            saved = torch.load(self.path, weights_only=True)
            self._check(saved["identity"])
            run.restore(saved["run"])
        except ExportError:
            raise
        except Exception as exc:  # a damaged file fails in a dozen ways
            raise ExportError(f"{self.path} cannot be read: {one_line(exc)}; remove it to begin anew") from exc
        return True

    def remove(self) -> None:
        """The run is over."""
        self.path.unlink(missing_ok=True)

    def _check(self, saved: dict[str, Any]) -> None:
        for name in {**self._identity, **saved}:
            then, now = saved.get(name), self._identity.get(name)
            if then != now:
                raise ExportError(
                    f"{self.path} is of a run with another {name} ({then}, now {now}): repeat that run's options, or "
                    "remove the file to begin anew"
                )


def keeper(state: State, run: Fit, asked: Asked) -> Callable[[], None]:
    """What is to be called between two batches: saves when it is time to, and raises Interrupted when asked to stop."""
    saved = time.monotonic()

    def keep() -> None:
        nonlocal saved
        if asked():
            state.save(run)
            raise Interrupted(
                f"interrupted after step {run.step} of {run.steps}; the same command goes on from there "
                f"({state.path}, {state.path.stat().st_size / 1e6:.0f} MB)"
            )
        if time.monotonic() - saved > SAVE_SECONDS:
            state.save(run)
            saved = time.monotonic()

    return keep


@contextmanager
def stoppable() -> Iterator[Asked]:
    """Within the block the first Ctrl-C or SIGTERM only asks; a second one ends the program at once."""
    asked = False

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in SIGNALS}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
