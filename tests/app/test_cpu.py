"""The thread plan, against the files that cgroup v1 and v2 really have."""

import os
from pathlib import Path

import pytest

from app.cpu import Throttling, cpu_flags, cpu_name, cpu_quota, cpu_throttling, plan_threads, resident_bytes


def machine(tmp_path: Path, files: dict[str, str]) -> dict[str, Path]:
    """A /sys/fs/cgroup and a /proc with these files; keyword arguments for the functions under test."""
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return {"cgroup": tmp_path / "cgroup", "proc": tmp_path / "proc"}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        pytest.param({"cgroup/cpu.max": "50000 100000\n"}, 0.5, id="v2 container, half a core"),
        pytest.param({"cgroup/cpu.max": "max 100000\n"}, None, id="v2 without a limit"),
        pytest.param(
            {"cgroup/cpu/cpu.cfs_quota_us": "150000\n", "cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            1.5,
            id="v1 container",
        ),
        pytest.param(
            {"cgroup/cpu/cpu.cfs_quota_us": "-1\n", "cgroup/cpu/cpu.cfs_period_us": "100000\n"}, None, id="v1, no limit"
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/kubepods/pod1/api\n",
                "cgroup/kubepods/pod1/cpu.max": "200000 100000",
                "cgroup/kubepods/pod1/api/cpu.max": "max 100000",
            },
            2.0,
            id="v2 on a host, the limit is the parent's",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/a\n3:cpu,cpuacct:/a/b\n",
                "cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us": "300000",
                "cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000",
                "cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "100000",
                "cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            1.0,
            id="v1 on a host, the tightest counts",
        ),
        pytest.param({"proc/self/cgroup": "0::/../../outside\n"}, None, id="path outside of the namespace"),
        pytest.param({"cgroup/cpu.max": "garbage"}, None, id="unreadable"),
        pytest.param({}, None, id="no cgroup at all"),
    ],
)
def test_quota_is_read_from_the_cgroup(tmp_path: Path, files: dict[str, str], cores: float | None) -> None:
    """The tightest CPU limit from the own cgroup upwards, in cores."""
    assert cpu_quota(**machine(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("quota", "workers", "requested", "threads"),
    [
        pytest.param("50000", 1, 0, 1, id="half a core still needs a thread"),
        pytest.param("100000", 1, 0, 1, id="one core"),
        pytest.param("100000", 4, 0, 1, id="more workers than cores"),
        pytest.param("100000", 1, 3, 3, id="the setting overrides"),
    ],
)
def test_threads_follow_the_quota(tmp_path: Path, quota: str, workers: int, requested: int, threads: int) -> None:
    """Each worker gets its whole share of the quota."""
    files = machine(tmp_path, {"cgroup/cpu.max": f"{quota} 100000"})
    assert plan_threads(workers=workers, requested=requested, **files).threads == threads


def test_affinity_bounds_the_quota(tmp_path: Path) -> None:
    """A quota of more cores than the process may run on does not make more threads."""
    plan = plan_threads(**machine(tmp_path, {"cgroup/cpu.max": "6400000 100000"}))
    assert plan.quota_cores == 64
    assert plan.threads == min(64, plan.affinity_cores)


def test_flags_are_those_that_matter(tmp_path: Path) -> None:
    """Of a long list, only what decides how int8 runs, from the first processor."""
    cpuinfo = "model name\t: Some CPU\nflags\t\t: fpu avx2 sse4_2 avx512_vnni\n\nflags\t\t: fpu avx2 amx_int8\n"
    proc = machine(tmp_path, {"proc/cpuinfo": cpuinfo})["proc"]
    assert cpu_flags(proc) == ["avx2", "avx512_vnni"]
    assert cpu_name(proc) == "Some CPU"


def test_a_system_without_proc_has_no_flags(tmp_path: Path) -> None:
    """Without /proc, as on macOS, nothing is claimed."""
    assert cpu_flags(tmp_path) == []
    assert cpu_name(tmp_path)


V2_STAT = "usage_usec 900\nnr_periods 40\nnr_throttled 10\nthrottled_usec 2500000\n"
V1_STAT = "nr_periods 40\nnr_throttled 10\nthrottled_time 2500000000\n"


@pytest.mark.parametrize(
    ("files", "throttling"),
    [
        pytest.param(
            {"cgroup/cpu.max": "50000 100000", "cgroup/cpu.stat": V2_STAT}, Throttling(40, 10, 2.5), id="v2 container"
        ),
        pytest.param(
            {
                "cgroup/cpu/cpu.cfs_quota_us": "50000",
                "cgroup/cpu/cpu.cfs_period_us": "100000",
                "cgroup/cpu/cpu.stat": V1_STAT,
            },
            Throttling(40, 10, 2.5),
            id="v1 container",
        ),
        pytest.param({"cgroup/cpu.max": "max 100000", "cgroup/cpu.stat": V2_STAT}, None, id="no quota"),
        pytest.param(
            {"cgroup/cpu.max": "50000 100000", "cgroup/cpu.stat": "usage_usec 900\n"}, None, id="no such line"
        ),
        pytest.param({"cgroup/cpu.max": "50000 100000"}, None, id="no such file"),
    ],
)
def test_throttling_is_read_where_the_quota_stands(
    tmp_path: Path, files: dict[str, str], throttling: Throttling | None
) -> None:
    """Periods and throttled time of the cgroup that limits this process."""
    assert cpu_throttling(**machine(tmp_path, files)) == throttling


def test_resident_memory_is_that_of_the_process(tmp_path: Path) -> None:
    """Pages become bytes; without a /proc it is unknown."""
    files = {"proc/self/statm": "9000 500 200 1 0 800 0\n"}
    assert resident_bytes(machine(tmp_path, files)["proc"]) == 500 * os.sysconf("SC_PAGE_SIZE")
    assert resident_bytes(tmp_path / "nowhere") == 0
