"""How every command of the export ends: with a status, and with one line on standard error for whatever went wrong."""

import sys
from collections.abc import Callable

from model_export.errors import ExportError, one_line
from model_export.progress import note

INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C ended."""


def ended(
    run: Callable[[], object],
    module: str,
    *,
    failing: str = "",
    expected: tuple[type[Exception], ...] = (ExportError,),
) -> int:
    """Run a command and return its status: 0, 1 with a line for whatever fails, or `INTERRUPTED`.

    `module` is what `python -m` runs. An error that is neither one of the `expected` ones nor the system's is named
    behind `failing`; it is raised in Python's development mode.
    """
    try:
        run()
    except expected as exc:
        note(f"error: {exc}")
    except OSError as exc:  # a full disk, or a file that vanishes on the way
        note(f"error: {one_line(exc)}")
    except Exception as exc:
        if sys.flags.dev_mode:
            raise
        advice = f"`python -X dev -m {module}` shows where"
        note(f"error: {failing}{type(exc).__name__}: {one_line(exc)} ({advice})")
    except KeyboardInterrupt as exc:
        note(str(exc) or "error: interrupted")
        return INTERRUPTED
    else:
        return 0
    return 1
