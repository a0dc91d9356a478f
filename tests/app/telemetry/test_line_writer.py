"""The thread that writes the log, against pipes and disks that take nothing: nobody waits, what is lost is counted."""

import fcntl
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from app.telemetry.logs import MAX_WAITING_BYTES, LineWriter
from tests.app import plain_http
from tests.conftest import ROOT, StartService, until

ONE_PAGE = 4_096
DROPPED = "valence_log_lines_dropped_total"
LINE = "x" * 1_023 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that holds one page: to read from, to write to."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, ONE_PAGE)
    yield reading, writing
    os.close(writing)
    os.close(reading)


def read_lines(descriptor: int, count: int) -> list[bytes]:
    """So many lines."""
    data = b""
    while data.count(b"\n") < count:
        data += os.read(descriptor, 1 << 20)
    return data.splitlines()


def test_lines_keep_their_order(pipe: tuple[int, int]) -> None:
    """Of each thread, and none is torn or lost, though the pipe is full most of the time."""
    writer = LineWriter(pipe[1])

    def write(thread: int) -> None:
        for number in range(500):
            writer.write(f"{thread} {number}\n")

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    lines = read_lines(pipe[0], 2_000)
    for number, thread in enumerate(threads):
        thread.join()
        assert [line for line in lines if line.startswith(b"%d " % number)] == [
            b"%d %d" % (number, n) for n in range(500)
        ]
    assert writer.dropped == 0


def test_nobody_waits_for_a_pipe_that_nobody_reads(pipe: tuple[int, int]) -> None:
    """Up to the bound lines wait, beyond it they are dropped and counted; whoever reads at last gets what waited."""
    writer = LineWriter(pipe[1])
    lines = 2 * MAX_WAITING_BYTES // len(LINE)
    for _ in range(lines):
        writer.write(LINE)
    assert lines // 2 - 8 <= writer.dropped <= lines // 2
    assert read_lines(pipe[0], lines - writer.dropped) == [LINE[:-1].encode()] * (lines - writer.dropped)

    def taken() -> bool:
        dropped = writer.dropped
        writer.write("and on it goes\n")
        return writer.dropped == dropped

    until(taken, "the thread has seen that all was read")
    assert read_lines(pipe[0], 1) == [b"and on it goes"]


@pytest.mark.parametrize("reader", ["closed pipe", "full disk"])
def test_lines_that_cannot_be_written_are_counted(reader: str) -> None:
    """EPIPE and ENOSPC end neither the thread nor its writers, and what failed does not wait for ever."""
    if reader == "closed pipe":
        reading, descriptor = os.pipe()
        os.close(reading)
    else:
        descriptor = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(descriptor)
    for number in range(1, 4):
        writer.write(f"line {number}\n")
        until(lambda number=number: writer.dropped == number, "it is counted")
    for _ in range(2 * MAX_WAITING_BYTES // len(LINE)):
        writer.write(LINE)
    until(lambda: writer.dropped == 3 + 2 * MAX_WAITING_BYTES // len(LINE), "all are counted")
    os.close(descriptor)


def test_text_that_utf_8_cannot_encode_is_escaped(pipe: tuple[int, int]) -> None:
    """A lone surrogate, as file names and headers may bring it."""
    LineWriter(pipe[1]).write("a \ud800 b é\n")
    assert read_lines(pipe[0], 1) == ["a \\ud800 b é".encode()]


def python(program: str) -> str:
    """What a process of its own prints that runs this, after the imports that all need.

    Python 3.12 and later warn of a fork beside other threads, which is what some of these try.
    """
    imports = "import os; from app.telemetry.logs import LineWriter, stdout, to_json\n"
    ended = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", imports + program],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert ended.stderr == ""
    return ended.stdout


def test_what_waits_at_the_end_is_written() -> None:
    """Although no thread would have come round to it."""
    program = "for number in range(1000): stdout.write(f'{number}\\n')"
    assert python(program).split() == [str(number) for number in range(1_000)]


def test_lone_surrogate_in_a_request_line() -> None:
    """Is escaped as JSON has it."""
    assert json.loads(python(r"stdout.write(to_json({'route': 'a \ud800'}))"))["route"] == "a \ud800"


def test_fork_writes_each_line_once() -> None:
    """What waited belongs to the parent; the child has a thread of its own, and what it says is written as well."""
    program = """
stdout.write("before\\n")
child = os.fork()
if child == 0:
    stdout.write("child\\n")
    stdout.close()
    os._exit(0)
stdout.write("parent\\n")
os.waitpid(child, 0)
"""
    assert sorted(python(program).split()) == ["before", "child", "parent"]


def test_fork_while_another_thread_writes() -> None:
    """The lock that it may hold at that moment is not taken along: no child hangs."""
    program = """
import threading
over = threading.Event()
sink = LineWriter(os.open("/dev/null", os.O_WRONLY))
def write():
    while not over.is_set():
        sink.write("line\\n")
writing = [threading.Thread(target=write) for _ in range(3)]
for thread in writing:
    thread.start()
for _ in range(50):
    child = os.fork()
    if child == 0:
        sink.write("child\\n")
        sink.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
over.set()
"""
    assert python(program) == ""


@pytest.mark.parametrize("output", ["/dev/full", "pipe"])
def test_requests_go_on_where_the_log_cannot(start_service: StartService, output: str) -> None:
    """The service answers as ever; lost lines are counted."""
    if output == "pipe":
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, ONE_PAGE)
    else:
        writing = os.open(output, os.O_WRONLY)
    started = start_service(output=writing, VALENCE_LOG_TEXTS="true").wait_ready()
    os.close(writing)
    # Of 96,000 characters, so that some fifty fill what may wait; on a full disk the first line is lost.
    text = "a long text " * (8_000 if output == "pipe" else 1)
    for number in range(60):
        answer = plain_http.post(started.url + "/predict", json={"text": [f"{number % 2} {text}"]})
        assert answer.status_code == 200
    until(lambda: started.metric(DROPPED) > 0, "what was dropped is counted")
    assert plain_http.get(started.url + "/readyz").status_code == 200
    if output == "pipe":
        os.close(reading)
    assert started.stop() == 0


def test_two_workers_log_whole_lines(start_service: StartService) -> None:
    """Two processes write to one file: each line is one JSON object, and none is missing."""
    started = start_service(VALENCE_WORKERS="2", VALENCE_DRAIN_SECONDS="0").wait_ready()
    for number in range(200):
        plain_http.post(started.url + "/predict", json={"text": ["good"]}, headers={"X-Request-ID": f"r{number}"})
    started.stop()
    lines = [json.loads(line) for line in started.log.read_text().splitlines()]
    ids = {line["request_id"] for line in lines if re.fullmatch(r"r\d+", line.get("request_id", ""))}
    assert ids == {f"r{number}" for number in range(200)}
