"""The measures, on scores whose figures can be told by hand."""

import numpy as np
import pytest

from training.measures import calibrated_error, calibration_error, neutral, polar, spread


def test_polar_counts_certain_errors() -> None:
    """Two of four are wrong, one of them above 0.95."""
    figures = polar(np.array([0.99, 0.9, 0.02, 0.4]), np.array([True, True, True, True]))
    assert figures.accuracy == pytest.approx(50.0)
    assert figures.certain_errors == pytest.approx(50.0)
    assert figures.error == pytest.approx(25.0)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    """Ten texts at 0.8 of which eight are right are calibrated; of which none is right are off by 0.8."""
    scores = np.full(10, 0.8)
    assert calibration_error(scores, np.array([True] * 8 + [False] * 2)) == pytest.approx(0.0, abs=1e-9)
    assert calibration_error(scores, np.array([False] * 10)) == pytest.approx(80.0)


def test_few_texts_show_a_calibration_error_by_chance() -> None:
    """Labels drawn from the scores themselves look a few per cent off where texts are few."""
    few, many = (calibrated_error(np.full(texts, 0.9)) for texts in (100, 100_000))
    assert few == pytest.approx(100 * (2 / np.pi * 0.09 / 100) ** 0.5, rel=0.15)  # mean of |normal| with that variance
    assert many < 0.1


def test_neutral_counts_certainty_on_either_side() -> None:
    """0.01 is as certain as 0.99; the band takes in its bounds."""
    figures = neutral(np.array([0.01, 0.99, 0.5, 1 / 3]))
    assert (figures.certain, figures.in_band, figures.negative) == (50.0, 50.0, 50.0)


def test_spread_is_taken_within_a_template() -> None:
    """Two templates far apart from each other, but steady, have no spread."""
    figures = spread([np.array([0.9, 0.9]), np.array([0.1, 0.5])])
    assert figures.mean == pytest.approx(0.2)
    assert figures.largest == pytest.approx(0.4)
    assert (figures.wide, figures.both_certain_sides) == (1, 0)
