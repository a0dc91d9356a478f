"""Figures of P(positive) against labels: plain numpy, whatever model gave the scores."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

CERTAIN = 0.95
"""The score above which a client takes a label for granted."""

BAND = (1 / 3, 2 / 3)
"""P(positive) of "no clear sentiment", as CheckList takes it for models of two labels."""

BINS = 15
DRAWS = 200


@dataclass(frozen=True)
class Polar:
    """On texts with a label: per cent, but `texts`. `error` is the standard error of the accuracy.

    `calibrated_error` is the calibration error to expect of a perfectly calibrated model with the same scores on as
    many texts: the part of `calibration_error` that is chance.
    """

    texts: int
    accuracy: float
    error: float
    certain_errors: float
    calibration_error: float
    calibrated_error: float


@dataclass(frozen=True)
class Neutral:
    """On texts without sentiment: per cent that score above 0.95, fall into the band, and are labelled NEGATIVE."""

    texts: int
    certain: float
    in_band: float
    negative: float


@dataclass(frozen=True)
class Spread:
    """Of P(positive) within templates that differ in the named group alone; `wide` counts those above 0.3."""

    templates: int
    mean: float
    largest: float
    wide: int
    both_certain_sides: int


def confidence(positive: FloatArray) -> FloatArray:
    """The score of the likelier label, in [0.5, 1]."""
    result: FloatArray = np.maximum(positive, 1.0 - positive)
    return result


def calibration_error(positive: FloatArray, labels: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error in per cent over 15 equal bins of the confidence (Guo et al., 2017, eq. 3)."""
    sure = confidence(positive)
    right = (positive > 0.5) == labels  # noqa: PLR2004 - the likelier of two labels
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs(float(np.sum(right[bins == each]) - np.sum(sure[bins == each]))) for each in range(BINS)]
    return 100.0 * sum(gaps) / len(positive)


def calibrated_error(positive: FloatArray) -> float:
    """Mean calibration error in per cent when each label is drawn with the probability that its score says."""
    rng = np.random.default_rng(0)
    drawn = (rng.random(positive.shape) < positive for _ in range(DRAWS))
    return float(np.mean([calibration_error(positive, labels) for labels in drawn]))


def polar(positive: FloatArray, labels: npt.NDArray[np.bool_]) -> Polar:
    """Accuracy and calibration of scores (texts,) against labels (texts,), True for POSITIVE."""
    wrong = (positive > 0.5) != labels  # noqa: PLR2004 - the likelier of two labels
    share = 1.0 - float(np.mean(wrong))
    certain = float(np.mean(confidence(positive)[wrong] > CERTAIN)) if wrong.any() else 0.0
    return Polar(
        texts=len(labels),
        accuracy=100.0 * share,
        error=100.0 * (share * (1.0 - share) / len(labels)) ** 0.5,
        certain_errors=100.0 * certain,
        calibration_error=calibration_error(positive, labels),
        calibrated_error=calibrated_error(positive),
    )


def neutral(positive: FloatArray) -> Neutral:
    """How sure scores (texts,) are where there is nothing to be sure of."""
    low, high = BAND
    return Neutral(
        texts=len(positive),
        certain=100.0 * float(np.mean(confidence(positive) > CERTAIN)),
        in_band=100.0 * float(np.mean((positive >= low) & (positive <= high))),
        negative=100.0 * float(np.mean(positive < 0.5)),  # noqa: PLR2004 - the likelier of two labels
    )


def spread(groups: list[FloatArray]) -> Spread:
    """Spread of each array of scores, one array a template."""
    widths = np.array([float(scores.max() - scores.min()) for scores in groups])
    low, high = BAND
    return Spread(
        templates=len(groups),
        mean=float(widths.mean()),
        largest=float(widths.max()),
        wide=int(np.sum(widths > 0.3)),  # noqa: PLR2004 - the goal's bound
        both_certain_sides=sum(bool(scores.min() < low and scores.max() > high) for scores in groups),
    )
