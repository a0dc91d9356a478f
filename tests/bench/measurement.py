"""A measurement with promises, run as its users run it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT


def measured(folder: Path, module: str, *arguments: str, last: str) -> dict[str, Any]:
    """The report of `python -m bench.MODULE ARGUMENTS`, which prints `last` and exits as its promises say."""
    file = folder / f"{module}.json"
    command = [sys.executable, "-m", f"bench.{module}", *arguments, "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert last in done.stdout, done.stderr
    report: dict[str, Any] = json.loads(file.read_text())
    assert done.returncode == (0 if all(one["kept"] for one in report["promises"]) else 1)
    return report
