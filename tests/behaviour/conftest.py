"""The bundled model, asked through the service's own classes."""

import pytest

from app.model.classifier import Classifier
from app.model.package import Package
from app.settings import BUNDLED_MODEL

from .cases import Label, Scorer


@pytest.fixture(scope="session")
def score() -> Scorer:
    """Texts -> P(positive) of each, every text alone: batches have tests of their own."""
    classifier = Classifier(Package(BUNDLED_MODEL))
    positive = classifier.package.manifest.labels.index(Label.POSITIVE)

    def positive_scores(texts: list[str]) -> list[float]:
        rows = [classifier.encoder.encode(text).ids for text in texts]
        return [float(classifier.scores([row])[0, positive]) for row in rows]

    return positive_scores
