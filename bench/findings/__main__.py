"""Everything that docs/findings.md shows, measured anew: python -m bench.findings [--scale 0.2] [--pods 1,2,4].

Runs load profiles against the service, then against pods of the overlay dev behind Envoy where pods can be started
(root, podman, the tools in CLUSTER_TOOLS, an image), one after the other. Folders of runs that are there already are
kept, so that an ended measurement goes on. Then writes the page and its pictures into docs.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.findings.page import write_page
from bench.pods import IMAGE, TOOLS, pods_behind_envoy
from load.k6 import find_k6
from load.programs import ROOT, ProcessError, run_program

PODS = "pods-"
"""How the folders of runs against pods begin; the number follows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing and write the page; 1 when a program is missing or a run fails."""
    options = _parser().parse_args(arguments)
    if find_k6() is None:
        sys.stderr.write("error: no k6: make load installs it\n")
        return 1
    options.runs.mkdir(parents=True, exist_ok=True)
    try:
        measure(options)
    except (ProcessError, subprocess.CalledProcessError) as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    write_page(options.runs, ROOT / "docs", beside=options.beside)
    return 0


def measure(options: argparse.Namespace) -> None:
    """One folder for each run."""
    for name, profile, share, more in (
        ("smoke", "smoke", 1.0, []),
        ("mission", "mission", 1.0, []),
        ("workers-2", "mission", 0.5, ["--workers", "2"]),
        ("ramp", "ramp", 1.0, []),
        ("spike", "spike", 1.0, []),
    ):
        scale = share if profile == "smoke" else share * options.scale
        run(options.runs / name, profile, {"DURATION_SCALE": str(scale)}, more)
    run(options.runs / "knee", "breakpoint", {"START_RATE": "1000"})
    for pods in options.pods:
        folder = options.runs / f"{PODS}{pods}"
        if not folder.exists():
            with pods_behind_envoy(options.tools, options.image, pods) as running:
                variables = {
                    "BASE_URL": f"http://127.0.0.1:{running.port}",
                    "METRICS_URLS": ",".join(running.metrics_urls),
                    "REDIS_URL": running.redis_url,
                    "WAIT_SECONDS": "60",
                }
                run(folder, "mission", variables | {"DURATION_SCALE": str(0.5 * options.scale)})


def run(folder: Path, profile: str, variables: Mapping[str, str], more: Sequence[str] = ()) -> None:
    """One profile by `load.run`, unless its folder is there. A broken SLO is a finding, not a failure."""
    if folder.exists():
        return
    command = [sys.executable, "-m", "load.run", "--profile", profile, "--out", str(folder), *more]
    status = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=False).returncode  # noqa: S603
    if status not in (0, 99):
        raise subprocess.CalledProcessError(status, command)


def _numbers(value: str) -> list[int]:
    return [int(number) for number in value.split(",") if number]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.findings", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of each profile's length (%(default)s)")
    parser.add_argument("--pods", type=_numbers, default=[], help="numbers of pods to try, such as 1,2,4 (none)")
    parser.add_argument("--beside", default="nothing", help="what else ran on the machine, in words (%(default)s)")
    parser.add_argument("--image", default=IMAGE, help="the pods' image (%(default)s; make image)")
    parser.add_argument("--tools", type=Path, default=TOOLS)
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "build" / "findings", help="folder of all runs (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    run_program(main)
