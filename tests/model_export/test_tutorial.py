"""The first half of docs/tutorial.md does what it says, command by command."""

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")

from tests.conftest import ROOT, free_port
from tests.mlflow_server import PROGRAM

BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ON_ONE_MACHINE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8").partition("\n## On a cluster")[0]
PORTS = 5000, 8000, 9090
SECONDS = 1_500
"""Much more than it takes; it waits for servers in loops."""


def script(folder: Path, ports: dict[int, int]) -> str:
    """All commands but the first, which sets up what is there, with other ports and a folder of their own."""
    install, *blocks = BLOCK.findall(ON_ONE_MACHINE)
    assert install.startswith("make install ")
    commands = re.sub(r"\bbuild(?=[/\s])", str(folder), "".join(blocks))
    for port, other in ports.items():
        commands = commands.replace(f"127.0.0.1:{port}", f"127.0.0.1:{other}").replace(
            f"--port {port}", f"--port {other}"
        )
    return f"set -e -o pipefail\n{commands}\n"


def test_commands_do_what_they_say(tmp_path: Path) -> None:
    """Two versions of a model of three labels, served one after the other by one process, and the first again."""
    if not PROGRAM.exists():
        pytest.skip("MLflow's server is not installed: make .venv-mlflow/bin/mlflow")
    if not (ROOT / ".venv" / ".main").exists():
        pytest.skip("the service's environment is not installed: make install")
    ports = {port: free_port() for port in PORTS}
    settings = {
        "VALENCE_BIND": f"127.0.0.1:{ports[8000]}",
        "VALENCE_METRICS_BIND": f"127.0.0.1:{ports[9090]}",
        "VALENCE_MODEL_CACHE_DIR": str(tmp_path / "cache"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of which nothing is asked; they would outlive the server
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VALENCE_", "MLFLOW_"))}
    process = subprocess.Popen(
        ["/bin/bash", "-c", script(tmp_path, ports)],
        cwd=ROOT,
        env=environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that whatever it leaves running can be ended
    )
    try:
        output, _ = process.communicate(timeout=SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    assert process.returncode == 0, output
    answered = re.findall(r"(?mi)^x-model: (tickets@[0-9a-f]{16})\s*$", output)
    first, second, back = answered
    assert first == back != second
    assert re.findall(r'"predictions":\[\[\{"label":"(\w+)"', output) == ["delivery"] * 3
    assert (tmp_path / "tickets-1" / "report" / "report.html").exists()
