"""A benchmark that holds between machines: ratios of sides that take turns on the same cores with the same model.

`make bench`, or python -m load.bench [--rounds 5] [--seconds 5] [--only hits,redis,misses,mix] [--json FILE].
Linux only: CPU time and memory are read from /proc. load/README.md says what each side is.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from load.bench_client import ClientError
from load.bench_process import ProcessError
from load.bench_ratios import as_json, figure_lines, ratio_lines
from load.bench_sides import ROOT, Figures, Load, Machine, empty, measure, measure_raw, service, usual
from load.machine import describe_machine

SCENARIOS = ("hits", "redis", "misses", "mix")
Plan = dict[str, dict[str, Callable[[], Figures]]]
"""Scenario -> side -> how to measure it once."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON; 1 with one line when something needed is missing."""
    options = _parser().parse_args(arguments)
    if not hasattr(os, "sched_setaffinity"):
        sys.stderr.write("error: the benchmark pins processes to cores and reads /proc, which only Linux has\n")
        return 1
    machine = find_machine()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            plan, notes = make_plan(options, machine, Path(scratch))
            results = run_plan(plan, options.rounds)
        except (ClientError, ProcessError) as exc:
            sys.stderr.write(f"error: {exc}\n")
            return 1
    facts = describe(options, machine)
    sys.stdout.write(
        "\n".join(["", *ratio_lines(results), "", *figure_lines(results), "", *notes, json.dumps(facts), ""])
    )
    if options.json is not None:
        report = {"format": 1, **facts, "notes": notes, "ratios": as_json(results), "rounds": results}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def find_machine() -> Machine:
    """The first two cores that we may use: one for servers, one for the client; with a single core both share it."""
    cores = sorted(os.sched_getaffinity(0))
    return Machine(frozenset(cores[:1]), frozenset(cores[1:2] or cores), shutil.which("redis-server"))


def make_plan(options: argparse.Namespace, machine: Machine, scratch: Path) -> tuple[Plan, list[str]]:
    """Everything to be measured, and a note on everything that cannot be."""
    model, seconds = options.model_dir, options.seconds
    hits = Load("hits", 32, seconds, pinned=True)
    mix = Load("mix", 10, seconds, pinned=False)
    plan: Plan = {
        "hits": {
            "service": partial(measure, machine, service(model), hits),
            "service, no access log": partial(measure, machine, service(model, log_level="warning"), hits),
            "empty app": partial(measure, machine, empty(), hits),
        },
        "redis": {
            "service": partial(measure, machine, service(model, redis=True, cache_max_entries="0"), hits),
            "empty app": partial(measure, machine, empty(), hits),
        },
        "misses": _misses(options, machine),
        "mix": {"service": partial(measure, machine, service(model, redis=True), mix)},
    }
    notes = []
    if options.full_size is None:
        notes.append("not measured: our service with a full-size model (--full-size PACKAGE)")
    else:
        plan["mix"]["service, full size"] = partial(measure, machine, service(options.full_size, redis=True), mix)
    if not options.usual_python.exists():
        notes.append(f"not measured: the usual way, since {options.usual_python} is not there (make install-export)")
    elif "mix" in options.only:
        checkpoint = options.checkpoint or _random_checkpoint(options.usual_python, model, scratch)
        plan["mix"]["usual way"] = partial(measure, machine, usual(options.usual_python, checkpoint), mix)
    if machine.redis_program is None:
        notes.append("not measured: hits from Redis and the mix, since redis-server is not installed")
        del plan["redis"], plan["mix"]
    return {name: sides for name, sides in plan.items() if name in options.only}, notes


def _misses(options: argparse.Namespace, machine: Machine) -> dict[str, Callable[[], Figures]]:
    """Raw runs use as many threads and texts a batch as the service did in the rounds so far."""
    seen = {"batch_texts": 1}
    threads = len(machine.both)

    def served(clients: int) -> Figures:
        load = Load("misses", clients, options.seconds, pinned=False)
        figures = measure(machine, service(options.model_dir, threads=str(threads)), load)
        if clients > 1:
            seen["batch_texts"] = max(1, round(figures["batch_texts_sum"] / figures["batch_texts_count"]))
        return figures

    def raw() -> Figures:
        figures = measure_raw(
            machine, options.model_dir, threads=threads, batch_texts=seen["batch_texts"], seconds=options.seconds
        )
        return figures | {"batch_texts": seen["batch_texts"], "threads": threads}

    return {"service, 64 clients": partial(served, 64), "service, 1 client": partial(served, 1), "onnxruntime": raw}


def _random_checkpoint(python: Path, model_dir: Path, scratch: Path) -> Path:
    folder = scratch / "full-size"
    command = [str(python), "-m", "load.usual_checkpoint", str(folder), str(model_dir / "tokenizer.json")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - our own program
    return folder


def run_plan(plan: Plan, rounds: int) -> dict[str, dict[str, list[Mapping[str, float]]]]:
    """Every side once in every round; every other round in reverse, so that no side always comes first."""
    results: dict[str, dict[str, list[Mapping[str, float]]]] = {
        name: {side: [] for side in sides} for name, sides in plan.items()
    }
    for number in range(rounds):
        for name, sides in plan.items():
            order = list(sides) if number % 2 == 0 else list(sides)[::-1]
            for side in order:
                results[name][side].append(sides[side]())
                sys.stderr.write(f"round {number + 1}/{rounds}  {name}: {side}\n")
    return results


def describe(options: argparse.Namespace, machine: Machine) -> dict[str, object]:
    """The machine, the versions and the settings."""
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **describe_machine(options.model_dir),
        "server_core": sorted(machine.server),
        "client_core": sorted(machine.client),
        "rounds_measured": options.rounds,
        "seconds": options.seconds,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m load.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds; every side runs once in each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement (%(default)s)")
    parser.add_argument("--only", type=_names, default=SCENARIOS, help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument(
        "--model-dir", type=Path, default=ROOT / "models" / "distilbert-sst2-mini", help="model package"
    )
    parser.add_argument("--full-size", type=Path, help="a full-size model's package, for the comparison of equals")
    parser.add_argument("--checkpoint", type=Path, help="the usual way's checkpoint (random full-size weights)")
    parser.add_argument(
        "--usual-python", type=Path, default=ROOT / ".venv-export" / "bin" / "python", help="Python with PyTorch"
    )
    return parser


def _names(value: str) -> tuple[str, ...]:
    names = tuple(value.split(","))
    if unknown := set(names) - set(SCENARIOS):
        raise argparse.ArgumentTypeError(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
