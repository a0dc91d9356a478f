"""Figures with the bound that they must keep: the last lines of a measurement, and its exit status."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from load.machine import write_json


class Promise(NamedTuple):
    """What was found, and its bound."""

    what: str
    found: float
    bound: str
    limit: float

    @property
    def kept(self) -> bool:
        """Whether it is within its bound; NaN, which stands for nothing found, is not."""
        return self.found <= self.limit if self.bound == "<=" else self.found >= self.limit

    def as_json(self) -> dict[str, object]:
        """For the JSON file."""
        return self._asdict() | {"kept": self.kept}


def finish(
    figures: Mapping[str, float], promises: Sequence[Promise], report: Mapping[str, object], file: Path | None
) -> int:
    """Print figures and promises, write `report` with the promises to `file`; the exit status: 0 if all were kept."""
    lines = [f"{name:<40} {value:12.3f}" for name, value in figures.items()]
    sys.stdout.write("\n".join([*lines, "", *promise_lines(promises), ""]))
    write_json(file, {**report, "promises": [one.as_json() for one in promises]})
    return 0 if all(one.kept for one in promises) else 1


def promise_lines(promises: Sequence[Promise]) -> list[str]:
    """One line each."""
    return [
        f"{one.what:<64} {one.found:10.3f}  {one.bound} {one.limit:<8g} {'kept' if one.kept else 'BROKEN'}"
        for one in promises
    ]
