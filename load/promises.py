"""Figures with the bound that they must keep: the last lines of a measurement, and its exit status."""

from collections.abc import Sequence
from typing import NamedTuple


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


def promise_lines(promises: Sequence[Promise]) -> list[str]:
    """One line each."""
    return [
        f"{one.what:<64} {one.found:10.3f}  {one.bound} {one.limit:<8g} {'kept' if one.kept else 'BROKEN'}"
        for one in promises
    ]
