"""A benchmark that holds between machines: ratios of sides that take turns on the same cores with the same model.

`make bench`, or python -m bench [--rounds 5] [--seconds 5] [--only hits,misses] [--json FILE].
Linux only: CPU time and memory are read from /proc. bench/README.md says what each side is.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.client import ClientError
from bench.plan import SCENARIOS, Plan, make_plan
from bench.ratios import as_json, figure_lines, ratio_lines
from bench.sides import Machine, find_machine
from load.machine import describe_machine, write_json
from load.programs import ROOT, ProcessError, run_program


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
    report = {"format": 1, **facts, "notes": notes, "ratios": as_json(results), "rounds": results}
    write_json(options.json, report)
    return 0


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
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds; every side runs once in each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement (%(default)s)")
    parser.add_argument("--only", type=_names, default=SCENARIOS, help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument(
        "--model-dir", type=Path, default=ROOT / "models" / "distilbert-sst2-mini", help="model package"
    )
    parser.add_argument("--full-size", type=Path, help="a full-size model's package, for the comparison of equals")
    parser.add_argument("--same-file", type=Path, help="the folder that bench.rivals.same_file wrote")
    parser.add_argument("--others", type=Path, help="the folder that bench/rivals/install.sh filled")
    parser.add_argument(
        "--checkpoint",
        type=lambda value: Path(value).resolve(),
        help="the usual way's checkpoint (random full-size weights)",
    )
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
    run_program(main)
