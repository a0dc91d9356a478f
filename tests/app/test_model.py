"""The bundled model in both engines: right scores, whatever stands beside a text in its batch."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.errors import PackageError
from app.model import Classifier, GoldenMismatch
from app.package import Golden, Package
from app.settings import BUNDLED_MODEL

INVARIANCE = 1e-4
"""What the manifest promises: |score alone - score in any batch|."""


@pytest.fixture(scope="module", params=["native", "onnxruntime"])
def classifier(request: pytest.FixtureRequest) -> Classifier:
    """The bundled model, loaded once."""
    try:
        return Classifier(Package(BUNDLED_MODEL), request.param)
    except PackageError as exc:
        pytest.skip(str(exc))


def texts_of_every_length(classifier: Classifier, count: int) -> list[list[int]]:
    """Token ids of random words, 3 to 512 tokens, short ones more often; the same for every run."""
    rng = random.Random(7)
    vocabulary = list(range(1_996, 25_000))  # whole words of the vocabulary
    start, *_, end = classifier.encoder.encode("good").ids
    lengths = [min(510, int(rng.lognormvariate(3, 1.2)) + 1) for _ in range(count)]
    return [[start, *rng.choices(vocabulary, k=length), end] for length in lengths]


def test_plain_sentiment_is_right(classifier: Classifier) -> None:
    """Love is positive, hate is negative, and clearly so."""
    rows = [classifier.encoder.encode(text).ids for text in ("I hate you.", "I love you.")]
    hate, love = classifier.scores(rows)
    assert hate[0] > 0.8
    assert love[1] > 0.8


def test_score_does_not_depend_on_the_batch(classifier: Classifier) -> None:
    """Each text alone against random padded batches: the difference stays within what the manifest promises."""
    rows = texts_of_every_length(classifier, 60)
    alone = np.concatenate([classifier.scores([row]) for row in rows])
    rng = random.Random(11)
    for size in (2, 5, 16):
        order = rng.sample(range(len(rows)), len(rows))
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            together = classifier.scores([rows[index] for index in batch])
            assert np.abs(together - alone[batch]).max() <= INVARIANCE


def test_threads_share_the_engine(classifier: Classifier) -> None:
    """Runs at the same time give what they give one after the other, to the last bit."""
    rows = texts_of_every_length(classifier, 40)
    one_by_one = [classifier.scores([row]).tolist() for row in rows]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda row: classifier.scores([row]).tolist(), rows)) == one_by_one


def test_fragment_is_json_with_the_highest_score_first(classifier: Classifier) -> None:
    """Every label once, sorted by score, scores that sum to one."""
    rows = [classifier.encoder.encode(text).ids for text in ("I hate you.", "I love you.")]
    hate, love = (json.loads(prediction.fragment) for prediction in classifier.predict(rows))
    assert [item["label"] for item in hate] == ["NEGATIVE", "POSITIVE"]
    assert [item["label"] for item in love] == ["POSITIVE", "NEGATIVE"]
    assert sum(item["score"] for item in hate) == pytest.approx(1, abs=1e-6)


def test_golden_texts_score_as_at_export(classifier: Classifier) -> None:
    """The bundled package passes its own check here."""
    assert classifier.check_golden() < 0.02


def test_changed_golden_score_is_noticed() -> None:
    """A score that is off by more than the tolerance names the text, the label and both scores."""
    package = Package(BUNDLED_MODEL)
    first = package.manifest.golden[0]
    swapped = dict(zip(first.scores, reversed(first.scores.values()), strict=True))
    package.manifest.golden[0] = Golden(text=first.text, scores=swapped)
    with pytest.raises(GoldenMismatch, match=r"golden text 0 scores 0\.\d{4} for \w+, at export 0\.\d{4}"):
        Classifier(package).check_golden()


def test_longest_text_runs(classifier: Classifier) -> None:
    """512 tokens, all of them used, give one row of logits."""
    longest = texts_of_every_length(classifier, 1)[0][:1] + [2_204] * 510 + [102]
    assert classifier.engine.logits([longest]).shape == (1, 2)
