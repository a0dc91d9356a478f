"""Wrong input of every kind, from a seed: python -m bench.fuzz [--seconds 60] [--seed 1] [--parts A B] [--json FILE].

Each part takes `--seconds`. Exit status 1 when one of them has found something. Linux only.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench.fuzz import bodies, kernel, liar, packages, schema, streams
from bench.fuzz.part import Part
from load.machine import describe_machine, write_json
from load.programs import ROOT, run_program

PARTS: dict[str, Callable[[Part], None]] = {
    "schema": schema.fuzz,
    "rows": schema.fuzz,
    "bodies": bodies.fuzz,
    "streams": streams.fuzz,
    "packages": packages.fuzz,
    "kernel": kernel.fuzz,
    "redis": liar.fuzz,
}
TABLE = ROOT / "models" / "wine-quality"
"""What the part `rows` serves."""


def main() -> int:
    """Run from the command line."""
    options = _parser().parse_args()
    report: dict[str, object] = {}
    findings = 0
    for name in options.parts:
        part = Part(options.seconds, options.seed, TABLE if name == "rows" else options.model_dir)
        PARTS[name](part)
        report[name] = {"tried": dict(part.tried), "findings": part.findings}
        findings += len(part.findings)
        sys.stdout.write("".join([*part_lines(name, part)]))
        sys.stdout.flush()
    sys.stdout.write(f"{findings} findings\n")
    facts = {"seed": options.seed, "seconds": options.seconds, "machine": describe_machine(options.model_dir)}
    write_json(options.json, facts | {"parts": report})
    return 1 if findings else 0


def part_lines(name: str, part: Part) -> list[str]:
    """What was tried, how often, and each finding."""
    tried = [f"{name:<10} {what:<60} {count:>9}\n" for what, count in sorted(part.tried.items())]
    return tried + [f"{name:<10} FOUND {finding}\n" for finding in part.findings]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each part (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same chance (%(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these")
    parser.add_argument("--model-dir", type=Path, default=ROOT / "models" / "distilbert-sst2-mini")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser


if __name__ == "__main__":
    run_program(main)
