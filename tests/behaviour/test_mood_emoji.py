"""Emoji alone, as people answer with one: all those that name a mood, not only those that were picked as cases."""

from tests.conftest import ROOT

from .cases import Scorer


def test_mood_emoji_are_right_in_nineteen_of_twenty(score: Scorer) -> None:
    """The lists that texts for training and for measuring are made from."""
    wrong, emoji = [], 0
    for path in sorted((ROOT / "training" / "tables").glob("*/*_emoji.txt")):
        if path.name == "object_emoji.txt":
            continue
        listed = [line for line in path.read_text(encoding="utf-8").split() if not line.startswith("#")]
        emoji += len(listed)
        wrong += [
            one for one, positive in zip(listed, score(listed), strict=True) if (positive > 0.5) != ("pos" in path.name)
        ]
    assert emoji >= 100
    assert len(wrong) <= emoji / 20, wrong
