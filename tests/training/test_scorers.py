"""A package is measured as it is served: its windows, its tokenizer, its graph."""

from pathlib import Path

import numpy as np
import pytest

from app.model.classifier import Classifier
from app.model.package import Package
from training.scorers import Scorer

BUNDLED = Path(__file__).parents[2] / "models" / "distilbert-sst2-mini"
TEXTS = (
    "A warm, funny film.",
    "I saw it [SEP] and left \N{POUTING FACE}",
    " ".join(["We waited for an hour and the soup was cold."] * 70),
    "nothing of note " * 900,
)
"""Short, with a special token and an emoji, of two windows, and cut behind the last window."""


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    """Of the bundled package."""
    return Scorer(BUNDLED)


def test_a_package_is_scored_as_the_service_scores_it(scorer: Scorer) -> None:
    """Windows with their overlap, weighted by tokens, and no more than the manifest allows."""
    served = Classifier(Package(BUNDLED), "onnxruntime")
    rows = [served.encoder.encode(text).ids for text in TEXTS]
    assert max(map(len, rows)) > served.window_tokens
    expected = np.concatenate([served.scores([row]) for row in rows])[:, 1]
    assert scorer.positive(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_windows_of_another_length_can_be_asked_for(scorer: Scorer) -> None:
    """A text of one window is the same either way; a longer one is not."""
    assert scorer.positive(TEXTS[:1], 128) == pytest.approx(scorer.positive(TEXTS[:1]), abs=1e-6)
    assert abs(scorer.positive(TEXTS[2:3], 128) - scorer.positive(TEXTS[2:3])) > 1e-4
