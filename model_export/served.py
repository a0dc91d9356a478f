"""The last gate: what is to be published can be served, by the service's own code in a process without PyTorch.

The export shares files with the service, not code, so it asks for the verdict of `python -m app.model.check`.
"""

import signal
import subprocess
import sys
from pathlib import Path

from model_export.errors import ENCODERS, ExportError
from model_export.progress import note

MODULE = "app.model.check"
ROOT = Path(__file__).resolve().parents[1]
"""Of the checkout, in which the service's code lies beside the export's."""
TIMEOUT_SECONDS = 1800.0
"""A model that takes longer for some 300 texts is none for a CPU."""


def check(package: Path, name: str, root: Path = ROOT, *, advice: str = ENCODERS) -> None:
    """Raise ExportError when the service can't serve `package`, a whole one with its manifest, of the model `name`.

    Where the service's code does not lie below `root`, that is said on standard error and nothing is tried.
    """
    if not (root / Path(*MODULE.split("."))).with_suffix(".py").exists():
        note(f"not tried in the service: {MODULE} is not at {root}; try it where it is: python -m {MODULE} PACKAGE")
        return
    command = [sys.executable, "-m", MODULE, str(package.resolve())]
    try:
        process = subprocess.run(  # noqa: S603 - our own module
            command, cwd=root, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise ExportError(
            f"{name} can't be served: trying it took more than {TIMEOUT_SECONDS:g} s; export a smaller model"
        ) from None
    if process.returncode:
        raise ExportError(f"{name} can't be served: {_reason(process)}; {advice}")


def _reason(process: "subprocess.CompletedProcess[str]") -> str:
    """The verdict, or what ended the process before it had one."""
    if process.stdout.strip():
        return process.stdout.strip()
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return f"the service's code was killed by {name}, as when memory is short for texts of so many tokens"
    return f"the service's code failed: {(process.stderr.strip().splitlines() or ['without a word'])[-1]}"
