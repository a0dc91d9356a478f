"""Templates: labels, slots, and the wall between what trains and what measures."""

import random
import re

import pytest

from training.errors import TrainingError
from training.examples import EVEN
from training.heldout import group_variants
from training.templates import CAPABILITIES, TABLES, fill, fillers, generate, parse, templates


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_template_can_be_filled(capability: str) -> None:
    """No slot is left open, for either label."""
    rng = random.Random(0)
    for template in templates("train", capability):
        for _ in range(4):
            text, _sign = fill(template, "train", rng)
            assert not re.search(r"[{}]", text), text


def test_both_signs_of_a_template_agree_with_their_label() -> None:
    """{+adj} agrees with the label, {-adj} opposes it, whichever label is drawn."""
    template = parse("PN\tit is {+adj}, not {-adj}")
    seen = set()
    for seed in range(20):
        text, sign = fill(template, "train", random.Random(seed))
        agreeing, opposing = text.removeprefix("It is ").split(", not ")
        sides = ("pos_adj", "neg_adj") if sign > 0 else ("neg_adj", "pos_adj")
        assert agreeing.removeprefix("an ") in fillers("train", sides[0])
        assert opposing in fillers("train", sides[1])
        seen.add(sign)
    assert seen == {1, -1}


def test_targets_lie_on_the_side_of_the_label() -> None:
    """The targets "N:0.2" and "P:0.8" are of P(positive) as written; 0 is even."""
    assert parse("P:0.8\tnot bad").strength == pytest.approx(0.8)
    assert parse("N:0.2\tused to be good").strength == pytest.approx(0.8)  # 0.8 on the side of NEGATIVE
    rng = random.Random(0)
    assert {example.positive for example in generate("groups_neutral", 50, rng)} == {EVEN}
    assert all(example.positive > EVEN for example in generate("negation", 200, rng) if "Who could not" in example.text)


@pytest.mark.parametrize("line", ["good film", "X\tgood film", "P\t ", "0\tit is {+adj}"])
def test_a_broken_template_is_quoted(line: str) -> None:
    """A typing slip in a table stops the run with the line."""
    with pytest.raises(TrainingError, match=re.escape(repr(line))):
        parse(line)


def test_an_unknown_slot_is_named() -> None:
    """A slot without a file of fillers stops the run."""
    with pytest.raises(TrainingError, match="colour"):
        fill(parse("0\ta {colour} box"), "train", random.Random(0))


def test_no_template_trains_and_measures() -> None:
    """The two parts share no wording."""
    parts = [
        {line.partition("\t")[2] for path in (TABLES / part).glob("*.tsv") for line in path.read_text().splitlines()}
        for part in ("train", "test")
    ]
    assert not (parts[0] & parts[1]) - {"{+emoji}", "{+emoji} {+emoji}", "{+phrase}.", "{+phrase} {+emoji}"}


@pytest.mark.parametrize("path", sorted((TABLES / "test").glob("*.txt")), ids=lambda path: path.stem)
def test_no_filler_trains_and_measures(path: object) -> None:
    """The two parts share no filler."""
    slot = getattr(path, "stem", "")
    assert not set(fillers("test", slot)) & set(fillers("train", slot))


def test_group_variants_differ_in_the_group_alone() -> None:
    """Each fairness template is filled once with every held-out group, and with nothing else that varies."""
    variants = group_variants(random.Random(0))
    assert len(variants) == len(templates("test", "fairness"))
    assert all(len(set(texts)) == len(texts) > 1 for texts in variants)
