"""How commands end: a status, and one line for whatever went wrong."""

from collections.abc import Callable

import pytest

from model_export.command import ended
from model_export.errors import ExportError


def raising(error: BaseException) -> Callable[[], None]:
    """A command that fails so."""

    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ExportError("no such column"), 1, "error: no such column"),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device"),
        (LookupError("x"), 1, "error: it can't be made: LookupError: x (`python -X dev -m model_export` shows where)"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (KeyboardInterrupt("stopped after step 3"), 130, "stopped after step 3"),
    ],
    ids=["expected", "system", "unexpected", "interrupted", "stopped"],
)
def test_what_went_wrong_is_one_line(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error."""
    assert ended(raising(error), "model_export", failing="it can't be made: ") == status
    assert capsys.readouterr() == ("", f"{line}\n")


def test_what_a_command_expects_needs_no_advice(capsys: pytest.CaptureFixture[str]) -> None:
    """Some use libraries, or the service, whose errors say enough."""
    assert ended(raising(LookupError("gone")), "model_export", expected=(ExportError, LookupError)) == 1
    assert capsys.readouterr().err == "error: gone\n"


def test_a_command_that_ends_well_says_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    """Its status is 0."""
    assert ended(lambda: None, "model_export") == 0
    assert capsys.readouterr() == ("", "")
