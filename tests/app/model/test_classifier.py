"""The bundled model in both engines: right scores, whatever stands beside a text in its batch."""

import json
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.errors import PackageError
from app.model.classifier import Classifier, GoldenMismatch
from app.model.package import Golden, Package
from app.settings import BUNDLED_MODEL

LONG = (
    "We waited for an hour until somebody came to the table, and the soup was cold when it came. The waiter forgot our "
    "drinks and shrugged when we asked for them. Only the dessert was worth the price. All in all it was a "
    "disappointing evening, and I can't recommend the place to anybody."
)
INVARIANCE = 1e-4
"""What the manifest promises: |score alone - score in any batch|."""


@pytest.fixture(scope="module", params=["native", "onnxruntime"])
def classifier(request: pytest.FixtureRequest) -> Classifier:
    """The bundled model, loaded once."""
    try:
        return Classifier(Package(BUNDLED_MODEL), request.param)
    except PackageError as exc:
        pytest.skip(str(exc))


def copy_with(folder: Path, **fields: object) -> Path:
    """A copy of the bundled package with other values in its manifest."""
    copy = Path(shutil.copytree(BUNDLED_MODEL, folder / "package"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | fields))
    return copy


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


def test_label_with_the_highest_score_comes_first(classifier: Classifier) -> None:
    """Every label once, sorted by score; scores sum to one and have no digits that float32 has not."""
    rows = [classifier.encoder.encode(text).ids for text in ("I hate you.", "I love you.")]
    hate, love = classifier.predict(rows)
    assert (hate.labels, love.labels) == ((0, 1), (1, 0))
    for prediction in (hate, love):
        assert prediction.scores[0] > prediction.scores[1]
        assert sum(prediction.scores) == pytest.approx(1, abs=1e-6)
        assert [round(score, 7) for score in prediction.scores] == list(prediction.scores)
        logits = np.frombuffer(prediction.logits, np.float32).astype(float)
        assert (np.exp(logits) / np.exp(logits).sum()).tolist() == pytest.approx(prediction.scores, abs=1e-6)


def test_long_text_scores_as_the_mean_of_its_windows(classifier: Classifier, tmp_path: Path) -> None:
    """Of their logits, weighted by their tokens; alone, beside others, and nothing changes for a short text."""
    folder = copy_with(tmp_path, window_tokens=32, window_overlap=8)
    windowed = Classifier(Package(folder), "native" if classifier.engine.name == "native" else "onnxruntime")
    texts = ["I love you.", LONG, "I hate you."]
    start, *content, end = classifier.encoder.encode(LONG).ids
    assert 52 < len(content) < 74, "three windows"
    windows = [[start, *content[begin : begin + 30], end] for begin in (0, 22, 44)]
    logits = np.concatenate([classifier.engine.logits([window]) for window in windows]).astype(np.float64)
    lengths = [len(window) for window in windows]
    negative, positive = (logits * np.array(lengths)[:, None]).sum(axis=0) / sum(lengths)
    expected = 1 / (1 + np.exp(negative - positive))
    rows = [windowed.encoder.encode(text).ids for text in texts]
    together = windowed.scores(rows)
    assert together[1, 1] == pytest.approx(expected, abs=1e-6)
    assert together.tolist() == [windowed.scores([row])[0].tolist() for row in rows]
    assert together[0].tolist() == classifier.scores(rows[:1])[0].tolist()


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
