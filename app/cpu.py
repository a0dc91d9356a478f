"""How much CPU this process may use, and what kind of CPU it is.

`os.cpu_count()` counts the host's cores. Threads sized by it are throttled in a container with a CPU limit
(text-embeddings-inference#170: six times slower), so the quota of the cgroup decides.
"""

import ctypes
import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")
RELEVANT_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Instructions that decide how int8 inference runs here (x86, then Arm)."""


@dataclass(frozen=True)
class ThreadPlan:
    """Threads for inference in each worker, and what they were derived from."""

    threads: int
    quota_cores: float | None
    """CPU quota of the cgroup in cores; None: no limit."""
    affinity_cores: int
    workers: int


class Throttling(NamedTuple):
    """How often a CPU quota was used up before its period ended."""

    periods: int
    throttled_periods: int
    throttled_seconds: float


def plan_threads(*, workers: int = 1, requested: int = 0, cgroup: Path = CGROUP, proc: Path = PROC) -> ThreadPlan:
    """Give each worker its whole share of the quota, at least one thread. `requested` > 0 overrides it."""
    quota = cpu_quota(cgroup, proc)
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A fraction of a core is left for the event loop: a thread on half a core would stall half of each period.
    share = min(affinity, quota) / workers if quota else affinity / workers
    return ThreadPlan(requested or max(1, int(share)), quota, affinity, workers)


def cpu_quota(cgroup: Path = CGROUP, proc: Path = PROC) -> float | None:
    """Cores granted by the tightest cgroup from this process upwards (v2 `cpu.max`, v1 `cpu.cfs_*`); None: no limit."""
    tightest = _tightest(cgroup, proc)
    return tightest and tightest[0]


def cpu_throttling(cgroup: Path = CGROUP, proc: Path = PROC) -> Throttling | None:
    """What the cgroup with that quota has done so far; None where there is no quota."""
    tightest = _tightest(cgroup, proc)
    if tightest is None:
        return None
    try:
        lines = (tightest[1] / "cpu.stat").read_text(encoding="ascii").splitlines()
        stat = {name: int(value) for name, value in (line.split() for line in lines)}
        seconds = stat["throttled_usec"] / 1e6 if "throttled_usec" in stat else stat["throttled_time"] / 1e9  # v2, v1
        return Throttling(stat["nr_periods"], stat["nr_throttled"], seconds)
    except (OSError, ValueError, KeyError):
        return None


def _tightest(cgroup: Path, proc: Path) -> tuple[float, Path] | None:
    """The smallest quota that holds for this process, and the folder of its cgroup.

    In a container the own cgroup is usually mounted as the root; on a host the path stands in /proc/self/cgroup.
    """
    quotas = []
    for root, relative in _cgroup_folders(cgroup, proc):
        folders = [root / relative, *(root / relative).parents]
        for folder in folders[: folders.index(root) + 1]:
            quota = _quota_v2(folder) or _quota_v1(folder)
            if quota:
                quotas.append((quota, folder))
    return min(quotas, default=None)


def _cgroup_folders(cgroup: Path, proc: Path) -> list[tuple[Path, str]]:
    """Every (mount, path below it) that may hold a CPU limit for this process."""
    folders = [(cgroup, "."), (cgroup / "cpu", "."), (cgroup / "cpu,cpuacct", ".")]
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return folders
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        below = path.strip("/") or "."
        if ".." in below.split("/"):  # outside of our cgroup namespace
            continue
        if controllers == "":
            folders += [(cgroup, below), (cgroup / "unified", below)]
        elif "cpu" in controllers.split(","):
            folders.append((cgroup / controllers, below))
    return folders


def _quota_v2(folder: Path) -> float | None:
    """`cpu.max` holds "max 100000" or "50000 100000" (quota and period in microseconds)."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def resident_bytes(proc: Path = PROC) -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        return int((proc / "self" / "statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def give_back_memory() -> None:
    """Have glibc return to the system what is freed; takes some milliseconds, does nothing elsewhere.

    By itself it does so at the end of each thread's heap only, and a model leaves holes.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def cpu_flags(proc: Path = PROC) -> list[str]:
    """Those of `RELEVANT_FLAGS` that this CPU has; empty where the system does not tell."""
    present = set(_cpuinfo(proc, "flags", "Features").split())
    return [flag for flag in RELEVANT_FLAGS if flag in present]


def cpu_name(proc: Path = PROC) -> str:
    """The CPU's model name, or its architecture where there is none."""
    return _cpuinfo(proc, "model name") or platform.machine()


def _cpuinfo(proc: Path, *names: str) -> str:
    """What the first line with one of these names says; empty without one."""
    try:
        text = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() in names), "")
