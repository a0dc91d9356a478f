"""What a teacher says: written once, read by every run, and blended with the labels."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")

from tests.model_export.tiny import write_checkpoint
from tests.training.corpora_files import write_corpora
from training.errors import TrainingError
from training.examples import EVEN, Example
from training.mixture import ROUND, read_all
from training.scorers import Scorer
from training.teacher import GOLD_SHARE, apply, blend, main, read


def test_the_scores_of_a_checkpoint_are_written_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every taught source, each text once, as many as the rounds draw or all; the scores are the checkpoint's."""
    corpora = write_corpora(tmp_path)
    checkpoint = write_checkpoint(tmp_path / "teacher", id2label={0: "NEGATIVE", 1: "POSITIVE"})
    output = tmp_path / "new" / "taught.tsv"
    rounds = 20.5 / ROUND["sst2"]
    options = ["--sst2", str(corpora / "train.tsv"), "--corpora", str(corpora), "--output", str(output)]
    assert main([str(checkpoint), *options, "--rounds", str(rounds)]) == 0
    taught = read(output)
    examples = {
        source: {e.text for e in texts} for source, texts in read_all(corpora, corpora / "train.tsv")[0].items()
    }
    assert len(set(taught) & examples["sst2"]) == 20
    assert set(taught) <= set().union(*(examples[source] for source in GOLD_SHARE))
    monkeypatch.setitem(ROUND, "sst2", 1)  # so that "all" is more than any number of rounds of these small corpora
    assert main([str(checkpoint), *options[:-1], str(tmp_path / "all.tsv")]) == 0
    assert set(read(tmp_path / "all.tsv")) == set().union(*(examples[source] for source in GOLD_SHARE))
    assert main([str(checkpoint), *options]) == 1  # what took half an hour is not overwritten
    assert read(output) == taught
    texts = sorted(set(taught) & examples["sst2"])
    assert [taught[text] for text in texts] == pytest.approx(Scorer(checkpoint).positive(texts), abs=1e-4)


def test_a_source_that_was_taught_is_drawn_from_what_the_teacher_saw() -> None:
    """Nothing else would be of the same kind; other sources stay whole."""
    texts = [Example(text, 0.95, "sst2") for text in ("seen", "unseen")]
    other = [Example("seen", EVEN, "clinc")]
    found = apply({"sst2": texts, "clinc": other}, {"seen": 0.25})
    assert [example.text for example in found["sst2"]] == ["seen"]
    assert found["sst2"][0].positive == pytest.approx(0.5 * 0.95 + 0.5 * 0.25)
    assert found["clinc"] == other


def test_a_neutral_comment_keeps_a_quarter_of_what_the_teacher_leans() -> None:
    """Which way it leans, not how sure."""
    assert blend(Example("so", EVEN, "goemotions-neutral"), 0.9).positive == pytest.approx(0.6)


@pytest.mark.parametrize("line", ["0.7", "high\tfine", "1.5\tfine", "nan\tfine"])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    """The user sees where to look."""
    path = tmp_path / "taught.tsv"
    path.write_text(f"positive\ttext\n0.5\tfine\n{line}\n")
    with pytest.raises(TrainingError, match=r"taught\.tsv, line 3"):
        read(path)
