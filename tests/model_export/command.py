"""`python -m model_export` in a process of its own, as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def start(*arguments: str | Path, **environment: str) -> "subprocess.Popen[str]":
    """Start the command; keyword arguments are environment variables."""
    return subprocess.Popen(
        [sys.executable, "-m", "model_export", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
    """Run the command to its end: exit status, standard output, standard error."""
    with start(*arguments, **environment) as process:
        output, errors = process.communicate(timeout=600)
    return process.returncode, output, errors


def error_line(*arguments: str | Path, **environment: str) -> str:
    """Run a command that must fail with status 1 and one line `error: ...`, and return what follows."""
    status, output, errors = run(*arguments, **environment)
    assert (status, output) == (1, ""), errors
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")
