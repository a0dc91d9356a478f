"""How a measurement ends when it is told to: whatever it started ends with it."""

import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_program(main: Callable[[], int]) -> NoReturn:
    """Exit with what `main` returns, or with 128 + the signal's number when one of SIGNALS ended it (SIGTERM: 143).

    A signal unwinds the stack as an exception does, so that every `with` and `finally` is heeded.
    """
    for number in SIGNALS:
        signal.signal(number, _unwind)
    sys.exit(main())


def _unwind(number: int, _: FrameType | None) -> NoReturn:
    # `make` and `timeout` send theirs twice: the second one must not interrupt the cleaning up.
    for later in SIGNALS:
        signal.signal(later, signal.SIG_IGN)
    sys.exit(128 + number)


def bound(command: Sequence[str]) -> list[str]:
    """The command, told by the kernel to end should this process be killed outright; unchanged without util-linux."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", *command] if setpriv else list(command)
