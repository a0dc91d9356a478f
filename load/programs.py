"""The programs of a measurement: started on chosen cores, waited for, observed through /proc, ended with it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 180
STOP_SECONDS = 30
TICKS = os.sysconf("SC_CLK_TCK")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Cores = frozenset[int]


class ProcessError(Exception):
    """A program did not come up; the message ends with the last lines that it wrote."""


def run_program(main: Callable[[], int]) -> NoReturn:
    """Exit with what `main` returns, or with 128 + the signal's number when one of SIGNALS ended it (SIGTERM: 143).

    A signal unwinds the stack as an exception does, so that every `with` and `finally` is heeded.
    """
    for number in SIGNALS:
        signal.signal(number, _unwind)
    sys.exit(main())


def _unwind(number: int, _: FrameType | None) -> NoReturn:
    # `make` and `timeout` send theirs twice: the second one must not interrupt the cleaning up.
    for later in SIGNALS:
        signal.signal(later, signal.SIG_IGN)
    sys.exit(128 + number)


def with_death_signal(command: Sequence[str]) -> list[str]:
    """The command, told by the kernel to end should this process be killed outright; unchanged without util-linux."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", *command] if setpriv else list(command)


def stop(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> None:
    """End a process by this signal, and by force if it is still there after STOP_SECONDS."""
    process.send_signal(number)  # nothing happens to one that has ended
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def on_cores(cores: Cores) -> Iterator[None]:
    """This process, and what it starts meanwhile, runs on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def is_ready(port: int, path: str = "/readyz") -> bool:
    """Whether what listens on `port` answers 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


class Program:
    """A server with its children. `ready_seconds` is the time from its start to the first good answer."""

    def __init__(
        self, command: Sequence[str], *, port: int, env: Mapping[str, str], cwd: Path, cores: Cores, ready_path: str
    ) -> None:
        self.port = port
        self._name = " ".join(command)
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - lives as long as the process
        began = time.perf_counter()
        with on_cores(cores):
            # A session of its own: stopping it must reach the children, whatever they do.
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                with_death_signal(command), cwd=cwd, env={**os.environ, **env}, stdout=self._log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait(ready_path, began + START_SECONDS)
        except BaseException:  # an end that was asked for, too
            self.stop()
            raise
        self.ready_seconds = time.perf_counter() - began

    def _wait(self, path: str, deadline: float) -> None:
        while not is_ready(self.port, path):
            if self._process.poll() is not None or time.perf_counter() > deadline:
                raise ProcessError(f"{self._name} did not become ready:\n{self.log()[-2000:]}")
            time.sleep(0.005)

    @property
    def pid(self) -> int:
        """Of the process that was started; its children's are in `pids`."""
        return self._process.pid

    def log(self) -> str:
        """What it has written so far to its standard output and error."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def cpu_seconds(self) -> float:
        """User and system time of all its processes so far, at the clock's 10 ms."""
        return sum(int(fields[11]) + int(fields[12]) for fields in self._stats().values()) / TICKS

    def peak_rss_mb(self) -> float:
        """Sum over its processes of the largest resident size; pages that they share count in each."""
        return resident_mb(self.pids(), "VmHWM")

    def pids(self) -> list[int]:
        """All its processes at this moment."""
        return list(self._stats())

    def _stats(self) -> dict[int, list[str]]:
        """For it and its descendants, the fields of /proc/PID/stat behind the name: state, parent, group, ..."""
        every = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(FileNotFoundError, ProcessLookupError):  # others end while we look
                every[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
        family = {self._process.pid}
        while grown := {pid for pid, fields in every.items() if int(fields[1]) in family} - family:
            family |= grown
        return {pid: every[pid] for pid in family if pid in every}

    def stop(self) -> None:
        """Stop it at once, as Ctrl-C does, and by force if it does not heed that."""
        stop(self._process, signal.SIGINT)
        with suppress(ProcessLookupError):  # children that outlive their parent
            os.killpg(self._process.pid, signal.SIGKILL)
        self._log.close()


def resident_mb(pids: Sequence[int], field: str = "VmRSS") -> float:
    """Sum of the resident sizes of these processes, or of another line of /proc/PID/status in kB."""
    status = "".join(Path(f"/proc/{pid}/status").read_text() for pid in pids)
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(field + ":")) / 1024


def proportional_mb(pids: Sequence[int]) -> float:
    """Resident size of these processes together: a page that some share counts once."""
    rollup = "".join(Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024


@contextmanager
def redis_server(program: str, cores: Cores, port: int | None = None) -> Iterator[str]:
    """A fresh Redis without persistence, on this port or on one that is free; gives its URL."""
    port = port or free_port()
    with tempfile.TemporaryDirectory() as folder, on_cores(cores):
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(  # noqa: S603 - found on the PATH
            with_death_signal(command), stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            deadline = time.perf_counter() + START_SECONDS
            while not _listens(port):
                if process.poll() is not None or time.perf_counter() > deadline:
                    raise ProcessError("redis-server did not start")
                time.sleep(0.005)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            stop(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
