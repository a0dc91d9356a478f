"""What the benchmark plans to measure with what it is given."""

import os
import sys
import time
from pathlib import Path

from bench.__main__ import _parser
from bench.plan import make_plan
from bench.rivals.servers import OTHERS, other_side
from bench.sides import find_machine
from load.programs import Program, free_port
from tests.conftest import ROOT


def test_what_is_not_given_is_said(tmp_path: Path) -> None:
    """Not measured is not the same as met."""
    options = _parser().parse_args(["--usual-python", str(tmp_path / "none")])
    plan, notes = make_plan(options, find_machine(), tmp_path)
    assert not {"others", "misses-full"} & set(plan)
    assert any("--same-file" in note for note in notes)
    assert any("--full-size" in note for note in notes)
    assert any("usual way" in note for note in notes)


def test_servers_are_those_whose_environment_is_there(tmp_path: Path) -> None:
    """The others are named."""
    (tmp_path / "litserve" / "bin").mkdir(parents=True)
    options = _parser().parse_args(["--same-file", "some", "--others", str(tmp_path), "--only", "others"])
    plan, notes = make_plan(options, find_machine(), tmp_path)
    assert {side.partition(",")[0] for side in plan["others"]} == {"service", "LitServe"}
    unmeasured = {note.split()[2].rstrip(",") for note in notes if "(install.sh)" in note}
    assert unmeasured == {"Infinity", "BentoML", "MLServer"}


def test_every_server_has_its_pinned_requirements(tmp_path: Path) -> None:
    """install.sh makes an environment for each, by this name."""
    for name in OTHERS:
        lines = (ROOT / "bench" / "rivals" / f"{name.lower()}.txt").read_text().splitlines()
        assert lines
        assert all("==" in line for line in lines)
        (tmp_path / name.lower() / "bin").mkdir(parents=True)
        side = other_side(name, tmp_path, tmp_path)
        assert side is not None
        assert side.request("a text").startswith(b"POST /")


def test_children_in_sessions_of_their_own_count(tmp_path: Path) -> None:
    """Servers that start their workers detached would otherwise seem to cost nothing."""
    script = tmp_path / "server.py"
    script.write_text(
        "import subprocess, sys\n"
        "from http.server import HTTPServer, SimpleHTTPRequestHandler\n"
        "child = subprocess.Popen([sys.executable, '-c', 'while True: pass'], start_new_session=True)\n"
        "try:\n"
        "    HTTPServer(('127.0.0.1', int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()\n"
        "finally:\n"
        "    child.kill()\n"
    )
    program = start(script)
    try:
        deadline = time.monotonic() + 30
        while program.cpu_seconds() < 0.5 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert program.cpu_seconds() >= 0.5
    finally:
        program.stop()


def start(script: Path) -> Program:
    """Run it as a side of the benchmark."""
    port = free_port()
    command = [sys.executable, str(script), str(port)]
    cores = frozenset(os.sched_getaffinity(0))
    return Program(command, port=port, env={}, cwd=script.parent, cores=cores, ready_path="/")
