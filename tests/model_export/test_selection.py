"""What is saved was measured, and is better than no model."""

import pytest

from model_export.errors import ExportError
from model_export.labelled import Example
from model_export.selection import most_accurate

DEV = [Example(0, "bad"), Example(1, "good"), Example(1, "fine"), Example(1, "nice")]


def test_the_most_accurate_is_chosen() -> None:
    """By the figures given, the first of equals."""
    assert most_accurate({"last epoch": 90.0, "mean of snapshots": 91.0}, DEV) == "mean of snapshots"
    assert most_accurate({"last epoch": 90.0, "mean of snapshots": 90.0}, DEV) == "last epoch"


def test_no_better_than_the_majority_is_refused() -> None:
    """75 % is what always saying 1 gives."""
    with pytest.raises(ExportError, match=r"nothing was learned: 75\.0 %"):
        most_accurate({"last epoch": 75.0, "mean of snapshots": 25.0}, DEV)
