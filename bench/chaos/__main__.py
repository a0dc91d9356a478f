"""Every fault under traffic: python -m bench.chaos [--pods] [--seconds 3] [--only WORD ...].

A service is started for each fault, eight clients ask it all the time, and it is broken for `--seconds`. Exit status 1
when one lost more than it may, or answered late or wrong. Linux only.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.chaos.faults import FAULTS, Fault, Target
from bench.chaos.pods import POD_FAULTS
from bench.chaos.slow_redis import slowed
from bench.chaos.traffic import Counts, Traffic
from bench.pods import IMAGE, TOOLS, pods_behind_envoy
from bench.questions import Questions
from bench.sides import find_machine, running, service
from load.machine import describe_machine, write_json
from load.programs import ROOT, redis_server, run_program

AROUND_SECONDS = 1.0
"""Of traffic before the fault, and behind it."""
MODEL_DIR = ROOT / "models" / "distilbert-sst2-mini"


@dataclass(frozen=True)
class Row:
    """What one fault cost."""

    fault: str
    may_lose: int
    promised_seconds: float
    counts: Counts

    @property
    def kept(self) -> bool:
        """Whether it cost no more than is promised."""
        counts = self.counts
        return counts.sent > 0 and counts.lost <= self.may_lose and not counts.late and not counts.wrong

    def line(self) -> str:
        """As the table has it."""
        counts = self.counts
        numbers = f"{counts.sent:>8} {counts.lost:>6} {counts.late:>6} {counts.wrong:>6} {counts.slowest_ms:>12.0f}"
        return f"{self.fault:<36} {numbers}  {'kept' if self.kept else 'BROKEN'} {counts.first_loss}\n"


def under_traffic(traffic: Traffic, struck: AbstractContextManager[object], seconds: float) -> None:
    """Let the clients ask before, during and behind the fault."""
    with traffic:
        time.sleep(AROUND_SECONDS)
        with struck:
            time.sleep(seconds)
        time.sleep(AROUND_SECONDS)


@contextmanager
def broken_service(fault: Fault) -> Iterator[Target]:
    """The service that this fault is for, with its Redis if it has one. Texts are looked up anew each time."""
    machine = find_machine()
    with ExitStack() as stack:
        settings, redis_url = dict(fault.settings), None
        if fault.redis:
            program = shutil.which("redis-server")
            if program is None:
                raise SystemExit("error: redis-server is missing: install it")
            redis_url = stack.enter_context(redis_server(program, machine.both))
            settings["redis_url"] = stack.enter_context(slowed(redis_url)) if fault.slow else redis_url
        side = service(MODEL_DIR, redis=False, cache_max_entries="0", **settings)
        command: Callable[[int], list[str]] = lambda port: ["bash", "-c", fault.start, "bash", *side.command(port)]  # noqa: E731
        _, program_of_service = stack.enter_context(running(machine, replace(side, command=command)))
        yield Target(program_of_service, redis_url)


def try_fault(fault: Fault, questions: Questions, seconds: float) -> Row:
    """Start, break, count."""
    with broken_service(fault) as target:
        traffic = Traffic(lambda: target.program.port, questions, fault.promised_seconds)
        under_traffic(traffic, fault.strike(target), seconds)
    return Row(fault.name, fault.may_lose, fault.promised_seconds, traffic.counts)


def service_rows(options: argparse.Namespace) -> Iterator[Row]:
    """A row for each fault of a service."""
    with broken_service(Fault("undisturbed", FAULTS[0].strike)) as target:
        questions = Questions(target.program.port)
    for fault in FAULTS:
        if any(word in fault.name for word in options.only):
            yield try_fault(fault, questions, options.seconds)


def pod_rows(options: argparse.Namespace) -> Iterator[Row]:
    """A row for each fault of pods; all of them strike the same two."""
    with pods_behind_envoy(options.tools, options.image, 2) as pods:
        questions = Questions(pods.port)
        for fault in POD_FAULTS:
            if any(word in fault.name for word in options.only):
                pods.wait_until_ready()  # the fault before this one has started some anew
                traffic = Traffic(lambda: pods.port, questions, fault.promised_seconds)
                under_traffic(traffic, fault.strike(pods), options.seconds)
                yield Row(fault.name, fault.may_lose, fault.promised_seconds, traffic.counts)


def main() -> int:
    """Run from the command line."""
    options = _parser().parse_args()
    sys.stdout.write(f"{'fault':<36} {'sent':>8} {'lost':>6} {'late':>6} {'wrong':>6} {'slowest, ms':>12}\n")
    rows = []
    for row in pod_rows(options) if options.pods else service_rows(options):
        rows.append(row)
        sys.stdout.write(row.line())
        sys.stdout.flush()
    report = {"seconds": options.seconds, "machine": describe_machine(), "faults": [asdict(row) for row in rows]}
    write_json(options.json, report)
    return 0 if rows and all(row.kept for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each fault lasts (%(default)s)")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="WORD", help="faults with one of these in their name"
    )
    parser.add_argument("--pods", action="store_true", help="break two pods of the overlay dev instead (bench/pods.py)")
    parser.add_argument("--image", default=IMAGE, help="the pods' image (%(default)s; make image)")
    parser.add_argument("--tools", type=Path, default=TOOLS, help="what starts pods (%(default)s)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser


if __name__ == "__main__":
    run_program(main)
