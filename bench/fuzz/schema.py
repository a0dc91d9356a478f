"""schemathesis over the published description: requests that fit it and requests that do not, each answer judged."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.fuzz.part import Part

CONFIG = Path(__file__).with_name("schemathesis.toml")
CASES = re.compile(r"(\d+) generated")


def fuzz(part: Part) -> None:
    """Every operation of /openapi.json."""
    program = Path(sys.executable).with_name("st")
    # It writes its own caches into the folder that it runs in.
    with part.service() as port, tempfile.TemporaryDirectory() as folder:
        command = [
            str(program), "--config-file", str(CONFIG), "run", f"http://127.0.0.1:{port}/openapi.json", "--no-color",
            "--max-time", str(max(1, round(part.seconds))), "--seed", str(part.seed), "--generation-database", "none",
            "--phases", "examples,coverage,fuzzing",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    cases = CASES.search(done.stdout)
    part.tried["cases"] += int(cases[1]) if cases else 0
    if done.returncode or cases is None:
        _, _, failures = done.stdout.partition("= FAILURES =")
        part.found(f"schemathesis ended with {done.returncode}", (failures or done.stdout + done.stderr).strip("= \n"))
