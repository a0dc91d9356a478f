"""What is saved was measured, and is better than no model."""

import pytest

from model_export.errors import ExportError
from model_export.selection import best, majority


def test_the_best_is_chosen() -> None:
    """By the figures given, the first of equals."""
    assert best({"last epoch": 90.0, "mean of snapshots": 91.0}, 75.0) == "mean of snapshots"
    assert best({"last epoch": 90.0, "mean of snapshots": 90.0}, 75.0) == "last epoch"


def test_no_better_than_the_majority_is_refused() -> None:
    """75 % is what always saying 1 gives."""
    assert majority([0, 1, 1, 1]) == 75.0
    with pytest.raises(ExportError, match=r"nothing was learned: accuracy 75\.0 % .* 75\.0 %;"):
        best({"last epoch": 75.0, "mean of snapshots": 25.0}, majority([0, 1, 1, 1]))
