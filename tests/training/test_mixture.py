"""A round of the mixture: as many texts of each source as asked for, and the same ones for the same seed."""

from collections import Counter
from pathlib import Path

import pytest

from tests.training.corpora_files import ROWS, write_corpora
from training.errors import TrainingError
from training.examples import EVEN, Example
from training.mixture import ROUND, Mixture, read_all

COUNTS = {"sst2": 30, "goemotions": 10, "goemotions-neutral": 5, "foreign": 20, "negation": 10}


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """A folder of small corpora."""
    return write_corpora(tmp_path)


def test_every_source_of_the_default_round_is_there(corpora: Path) -> None:
    """The shipped recipe draws from nothing that isn't read."""
    training, held_out = read_all(corpora, corpora / "train.tsv")
    found = Counter(example.source for example in Mixture(training, ROUND, seed=0).round())
    assert found == {source: count for source, count in ROUND.items() if count}
    assert set(held_out) <= set(training)
    assert not {e.text for texts in held_out.values() for e in texts} & {e.text for e in training["clinc"]}


def test_a_seed_gives_the_same_rounds(corpora: Path) -> None:
    """Two runs see the same texts in the same order; another seed sees others."""
    training, _ = read_all(corpora, corpora / "train.tsv")
    rounds = [Mixture(training, COUNTS, seed).round() for seed in (0, 0, 1)]
    assert rounds[0] == rounds[1] != rounds[2]


def test_nothing_repeats_before_everything_was_seen(corpora: Path) -> None:
    """Two rounds of half of a corpus hold all of it."""
    training, _ = read_all(corpora, corpora / "train.tsv")
    mixture = Mixture(training, {"clinc": len(training["clinc"]) // 2}, seed=0)
    seen = [example.text for _ in range(2) for example in mixture.round()]
    assert len(training["clinc"]) <= ROWS
    assert len({text.lower() for text in seen}) == len(seen)


def test_a_source_without_texts_is_named(corpora: Path) -> None:
    """An empty source would be drawn from for ever."""
    training, _ = read_all(corpora, corpora / "train.tsv")
    with pytest.raises(TrainingError, match="5 texts of foreign"):
        Mixture(training | {"foreign": []}, {"foreign": 5}, seed=0)


def test_a_phrase_behind_a_comment_agrees_with_it() -> None:
    """Some comments get one: a mood of their own is kept, a comment without one takes the mood of the phrase."""
    comments = [Example(f"a plain comment {n}", (0.92, 0.08)[n % 2], "goemotions") for n in range(200)]
    neutral = [Example(f"a neutral comment {n}", EVEN, "goemotions-neutral") for n in range(200)]
    mixture = Mixture(
        {"goemotions": comments, "goemotions-neutral": neutral}, {"goemotions": 200, "goemotions-neutral": 200}, 0
    )
    given = {example.text.lower(): example.positive for example in comments + neutral}
    longer = [example for example in mixture.round() if len(example.text.split()) > 8 and "comment" in example.text]
    moods = []
    for example in longer:
        (before,) = [positive for text, positive in given.items() if f"{text}. " in example.text.lower()] or [None]
        if before is not None:
            moods.append((before, example.positive))
    assert any(before == EVEN != after for before, after in moods)
    assert all((before > EVEN) == (after > EVEN) for before, after in moods if before != EVEN)
