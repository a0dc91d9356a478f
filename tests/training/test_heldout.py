"""What is measured: nothing that is trained on, the same texts each time, and long ones that are long."""

from pathlib import Path

import pytest

from tests.training.corpora_files import write_corpora
from training.corpora import of_rating
from training.examples import EVEN
from training.heldout import LABEL_RATING, LONG_WORDS, HeldOut, held_out
from training.mixture import read_all


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """A folder of small corpora."""
    return write_corpora(tmp_path)


def measured(corpora: Path) -> HeldOut:
    """All sets."""
    return held_out(corpora, corpora / "train.tsv", corpora / "dev.tsv")


def test_the_same_texts_each_time(corpora: Path) -> None:
    """Figures of two models are of the same texts."""
    assert measured(corpora) == measured(corpora)


def test_rated_texts_are_measured_where_their_raters_lean(corpora: Path) -> None:
    """Those nearer to the middle of the scale have no label; no text of a set is trained on."""
    trained = {example.text for example in read_all(corpora, corpora / "train.tsv")[0]["products"]}
    for source in ("tweets", "products", "editorials"):
        examples = measured(corpora).polar[f"{source}, rated"]
        assert examples
        assert all(abs(example.positive - EVEN) >= of_rating(LABEL_RATING) - EVEN for example in examples)
    assert not trained & {example.text for example in measured(corpora).polar["products, rated"]}


def test_long_texts_are_longer_than_the_model_reads_at_once(corpora: Path) -> None:
    """A word is a token or more. The verdict stands at the end, at the beginning, or everywhere."""
    long = measured(corpora).long
    assert set(long) == {"reviews", "questions, then a review", "a review, then questions", "reviews of one label"}
    for name in set(long) - {"reviews"}:
        assert all(len(example.text.split()) >= LONG_WORDS for example in long[name])
    pairs = zip(long["questions, then a review"], long["a review, then questions"], strict=True)
    assert all(sorted(one.text.split()) == sorted(other.text.split()) and one != other for one, other in pairs)
