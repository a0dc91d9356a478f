"""What a measurement started ends with it, however it is ended itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from load.report.data import read_run
from load.report.findings import findings
from tests.conftest import ROOT, until


def group(parent: int) -> set[int]:
    """Process ids of all that `parent` started, and of what these started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # ended while we looked
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    family = {parent}
    while grown := {pid for pid, its in parents.items() if its in family} - family:
        family |= grown
    return family - {parent}


def alive(pids: set[int]) -> set[int]:
    """Those that have not ended."""
    files = [(pid, Path(f"/proc/{pid}/cmdline")) for pid in pids]
    return {pid for pid, file in files if file.exists() and file.read_bytes()}  # a zombie's is empty


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a measurement; kills what a failing test leaves."""
    begun: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if name != "BASE_URL"}
        begun.append(
            subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
        return begun[-1]

    yield run
    for process in begun:
        with process:  # closes its pipe and waits
            if process.poll() is None:
                for pid in group(process.pid) | {process.pid}:
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_load_that_is_ended_ends_its_children_and_leaves_what_it_saw(
    k6: str, start: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """Service, Redis and k6 are gone, and the folder is a run that a report can be made of."""
    process = start("load.run", "--profile", "soak", "--out", str(tmp_path))
    samples = tmp_path / "samples.jsonl"
    until(lambda: samples.exists() and samples.read_text().count("\n") > 2, "the third sample")
    until(lambda: '"snapshot"' in (tmp_path / "k6.ndjson").read_text(), "k6's first second")
    children = group(process.pid)
    commands = " ".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in children)
    wanted = ["gunicorn", Path(k6).name, *(["redis-server"] if shutil.which("redis-server") else [])]
    assert all(name in commands for name in wanted), commands
    process.send_signal(number)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    assert not alive(children)
    assert "Traceback" not in output
    run = read_run(tmp_path)
    assert run.totals["requests"] > 0
    assert run.summary["http_reqs"]["count"] > 0


@pytest.mark.parametrize("program", ["bench", "bench.overload", "bench.soak"])
def test_other_measurements_end_their_children_too(start: Callable[..., subprocess.Popen[str]], program: str) -> None:
    """All of them start servers by load/programs.py."""
    process = start(f"{program}")
    until(lambda: len(group(process.pid)) > 1, "gunicorn and its worker")
    children = group(process.pid)
    process.terminate()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 143, output
    assert not alive(children)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not installed")
def test_children_end_with_one_that_is_killed_outright(start: Callable[..., subprocess.Popen[str]]) -> None:
    """As when memory runs out: nothing can be unwound, so the kernel tells them."""
    process = start("bench.soak")
    until(lambda: len(group(process.pid)) > 1, "gunicorn and its worker")
    children = group(process.pid)
    process.kill()
    process.communicate()
    until(lambda: not alive(children), "the end of the children")


def test_early_end_is_said(tmp_path: Path) -> None:
    """Half a run must not pass for a whole one."""
    folder = shutil.copytree(Path(__file__).parent / "recorded", tmp_path / "run")
    facts = json.loads((folder / "run.json").read_text())
    del facts["k6_status"]
    (folder / "run.json").write_text(json.dumps(facts))
    assert "ended" in findings(read_run(folder))[0]
