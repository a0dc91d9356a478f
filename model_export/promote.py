"""python -m model_export promote NAME --version N --data FILE.tsv: the next champion, if it is no worse than the last.

Both packages are fetched and measured on the same labelled texts in the service's own code, on this machine. The alias
`champion` moves only when every gate holds (model_export/gates.py); what did not is said.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from app.errors import PackageError
from app.model.package import Package
from app.model.source import look_up
from app.settings import SettingsError, read_settings
from model_export.command import ended
from model_export.dataset import read_named
from model_export.errors import ExportError
from model_export.gates import Gate, alone, compare, measure
from model_export.labelled import add_columns, read_labelled
from model_export.progress import note
from model_export.registry import CANDIDATE, CHAMPION, needed_tracker, refusals
from model_export.text_table import Columns
from model_export.tracking import Tracker

MAX_TAG = 4_000
"""Characters of a tag; MLflow's databases take 5,000 and more."""


def main(arguments: Sequence[str]) -> int:
    """Run from the command line: 0 when the version is the champion, 1 with the reason when it is not."""
    options = _parser().parse_args(arguments)
    return ended(partial(_run, options), "model_export promote", expected=(ExportError, PackageError, SettingsError))


def _run(options: argparse.Namespace) -> None:
    columns = None if options.text_column is None else Columns(options.text_column, options.label_column)
    numbered = [] if columns else read_labelled(options.data)  # said before anything is fetched, if it is no data
    told = needed_tracker()
    name, version = options.name, options.version or _by_alias(told, options.name, options.alias)
    if version is None:
        raise ExportError(f"models:/{name} has no alias {options.alias}")
    before = _by_alias(told, name, CHAMPION)
    if before == version:
        note(f"models:/{name}/{version} is the champion already")
        return
    cache = read_settings().model_cache_dir
    package = Package(look_up(f"models:/{name}/{version}", cache).folder)
    # Names of labels are those of the candidate.
    examples = read_named(options.data, columns, package.manifest.labels) if columns else numbered
    candidate = measure(package.folder, examples)
    champion = measure(look_up(f"models:/{name}/{before}", cache).folder, examples) if before else None
    texts = [example.text for example in examples]
    gates = compare(champion, candidate, texts) if champion else alone(candidate)
    sys.stdout.write(f"{table(gates)}\n")
    _record(told, name, version, gates)
    _decide(told, name, version, before, gates)


def _decide(told: Tracker, name: str, version: str, before: str | None, gates: Sequence[Gate]) -> None:
    """Move the alias, or raise ExportError with every gate that did not hold."""
    if failed := [f"{gate.name} {gate.candidate} (allowed: {gate.allowed})" for gate in gates if not gate.holds]:
        raise ExportError(f"models:/{name}/{version} stays a candidate: {'; '.join(failed)}")
    if _by_alias(told, name, CHAMPION) != before:
        raise ExportError(f"models:/{name} has another champion meanwhile; compare with that one")
    with refusals(told):
        told.mlflow.MlflowClient(told.uri).set_registered_model_alias(name, CHAMPION, version)
    note(f"models:/{name}/{version} is the champion" + (f" in place of {before}" if before else ", the first"))


def _by_alias(told: Tracker, name: str, alias: str) -> str | None:
    """The number of the version with this alias; None where there is none."""
    with refusals(told):
        model = told.mlflow.MlflowClient(told.uri).get_registered_model(name)
    found: Any = model.aliases.get(alias)
    return None if found is None else str(found)


def _record(told: Tracker, name: str, version: str, gates: Sequence[Gate]) -> None:
    """Keep what was measured beside the version, whatever becomes of it."""
    found = json.dumps([asdict(gate) for gate in gates])
    with refusals(told):
        told.mlflow.MlflowClient(told.uri).set_model_version_tag(name, version, "gates", found[:MAX_TAG])


def table(gates: Sequence[Gate]) -> str:
    """The gates in columns."""
    rows = [("gate", "champion", "candidate", "allowed", "")]
    rows += [(gate.name, gate.champion, gate.candidate, gate.allowed, "ok" if gate.holds else "NO") for gate in gates]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_export promote", description="Make a version the champion, if it is no worse."
    )
    parser.add_argument("name", help="the registered model")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=_number, help="the version (that of the alias)")
    which.add_argument("--alias", default=CANDIDATE, help="the alias of the version (%(default)s)")
    parser.add_argument(
        "--data", type=Path, required=True, help="labelled texts: as GLUE has them, or see --text-column"
    )
    add_columns(parser)
    return parser


def _number(value: str) -> str:
    if not value.isascii() or not value.isdigit():
        raise argparse.ArgumentTypeError(f"{value!r} should be a number, such as 3")
    return str(int(value))
