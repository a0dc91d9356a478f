"""Corpora: what is read, what is held out, and what names the file and line of a fault."""

import random
from pathlib import Path

import pytest

from training.corpora import (
    HELD_OUT_LANGUAGES,
    RATED,
    foreign,
    goemotions,
    group_terms,
    is_held_out,
    name_placeholders,
    rated,
    reviews,
    snippet,
    split,
    swap_groups,
)
from training.errors import TrainingError
from training.examples import EVEN


def write(folder: Path, name: str, *lines: str) -> Path:
    """A corpus of these lines, cells parted by |."""
    (folder / name).write_text("\n".join(line.replace("|", "\t") for line in lines) + "\n", encoding="utf-8")
    return folder


def test_emotions_become_targets(tmp_path: Path) -> None:
    """One polarity gives a label, neutral alone none, mixed and surprise nothing at all."""
    folder = write(
        tmp_path,
        "goemotions-train.tsv",
        "emotions|text",
        "joy|yes",
        "approval;neutral|fine",
        "anger;sadness|no",
        "joy;anger|both",
        "surprise|oh",
        "neutral|so",
    )
    found = {example.text: example for example, _ in goemotions(folder)}
    assert set(found) == {"yes", "fine", "no", "so"}
    assert found["yes"].positive > found["fine"].positive > EVEN > found["no"].positive
    assert (found["so"].positive, found["so"].source) == (EVEN, "goemotions-neutral")


def test_a_pair_of_reviews_is_never_split(tmp_path: Path) -> None:
    """A review and its rewrite are on one side of the wall; both sides are filled."""
    lines = [f"{pair}|{label}|{label} {pair}" for pair in range(100) for label in ("POSITIVE", "NEGATIVE")]
    training, held_out = split(reviews(write(tmp_path, "imdb-counterfactual-train.tsv", "pair|label|text", *lines)))
    sides = [{example.text.split()[1] for example in side} for side in (training, held_out)]
    assert sides[0] | sides[1] == {str(pair) for pair in range(100)}
    assert not sides[0] & sides[1]
    assert sides[1]


def write_rated(folder: Path, *lines: str) -> Path:
    """The same lines for each kind of rated text."""
    for name in RATED.values():
        write(folder, f"{name}_GroundTruth.txt", *lines)
    return folder


def test_a_rating_becomes_a_target(tmp_path: Path) -> None:
    """A third of a step is nearly a label, nothing is certain, 0 is none; escaped characters are written out."""
    lines = ("1_1|0.35|so &amp; so", "1_2|0|well", "2_1|-3|no")
    found = [example for example, _ in rated(write_rated(tmp_path, *lines))]
    assert [example.source for example in found] == [source for source in RATED for _ in range(3)]
    assert [example.text for example in found[:3]] == ["so & so", "well", "no"]
    assert [example.positive for example in found[:3]] == pytest.approx([0.802, EVEN, 0.03], abs=0.001)


def test_a_rated_review_is_never_split(tmp_path: Path) -> None:
    """All sentences of one are on one side of the wall, a quarter of the reviews on the other."""
    folder = write_rated(tmp_path, *(f"{review}_{place}|1|{review}" for review in range(400) for place in (1, 2)))
    training, held_out = ({e.text for e in side if e.source == "products"} for side in split(rated(folder)))
    assert not training & held_out
    assert len(held_out) / 400 == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("line", ["1_1|high|text", "1_1|text", "1_1|2|a|b"])
def test_a_broken_rating_names_file_and_line(tmp_path: Path, line: str) -> None:
    """The user sees where to look."""
    with pytest.raises(TrainingError, match=r"tweets_GroundTruth\.txt, line 2: expected name, rating and text"):
        list(rated(write_rated(tmp_path, "1_1|1|good", line)))


def test_held_out_languages_are_never_trained_on(tmp_path: Path) -> None:
    """A language is held out as a whole."""
    training, held_out = split(foreign(write(tmp_path, "udhr.tsv", "language|text", "fra|Bonjour", "swe|God dag")))
    assert [example.text for example in training] == ["Bonjour"]
    assert [example.text for example in held_out] == ["God dag"]
    assert "swe" in HELD_OUT_LANGUAGES


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("lang|text", "fra|Bonjour"), "line 1"),
        (("language|text", "fra|Bonjour", "fra"), "line 3"),
        (("language|text", "fra| "), "line 2"),
    ],
)
def test_a_broken_corpus_names_file_and_line(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    """The user sees where to look."""
    with pytest.raises(TrainingError, match=rf"udhr\.tsv, {message}"):
        list(foreign(write(tmp_path, "udhr.tsv", *lines)))


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    """A folder without the file stops the run before anything is trained."""
    with pytest.raises(TrainingError, match=r"udhr\.tsv"):
        list(foreign(tmp_path))


def test_about_a_tenth_is_held_out() -> None:
    """The digest spreads keys evenly, and always the same way."""
    share = sum(is_held_out(str(key)) for key in range(5000)) / 5000
    assert share == pytest.approx(0.1, abs=0.02)


def test_hidden_names_and_groups_are_replaced() -> None:
    """GoEmotions' placeholders never reach the model, and a named group becomes another one of its kind."""
    rng = random.Random(0)
    assert "[" not in name_placeholders("[NAME] asked [NAME] about [RELIGION]", rng)
    swapped = {swap_groups("A German film, reading on.", rng, group_terms()) for _ in range(20)}
    assert len(swapped) > 10
    assert all(text.startswith("A ") and text.endswith(" film, reading on.") for text in swapped)


def test_a_snippet_is_a_part_of_its_text() -> None:
    """Also where words aren't parted by spaces."""
    rng = random.Random(0)
    for text in ("uno dos tres cuatro cinco seis siete ocho", "\u4eba\u4eba" * 40):
        for _ in range(20):
            part = snippet(text, rng)
            assert part
            assert part in text
