"""Sentences from templates: what corpora lack, or have with a bias (groups of people, negation, emoji, no sentiment).

`tables/train` and `tables/test` hold templates (`*.tsv`) and fillers (`*.txt`) of their own wording each; what a test
part has no fillers of, the neutral ones such as weekdays, comes from the train part.

A template line is `LABEL<TAB>text`. LABEL is P, N, PN (one of the two at random) or 0 (no sentiment), and may name the
target on its side: `P:0.8`. `{slot}` is filled from `slot.txt`; `{+adj}` from the adjectives that agree with the label,
`{-adj}` from those that oppose it.
"""

import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from model_export.emoji import name_emoji
from training.errors import TrainingError
from training.examples import EVEN, SURE, Example, target

TABLES = Path(__file__).parent / "tables"
CAPABILITIES = (
    "plain", "negation", "contrast", "temporal", "question", "neutral", "groups_neutral", "groups_polar", "emoji",
    "phrase",
)  # fmt: skip
_SLOT = re.compile(r"\{([+-]?)(\w+)\}")
_LABELS = {"P": (1,), "N": (-1,), "PN": (1, -1), "0": (0,)}


@dataclass(frozen=True)
class Template:
    """`signs` are the labels it can be filled for: 1 positive, -1 negative, 0 none; `strength` the target's."""

    signs: tuple[int, ...]
    strength: float
    text: str


def parse(line: str) -> Template:
    """Read one line of a template file. Raises TrainingError that quotes it."""
    label, tab, text = line.partition("\t")
    name, _, strength = label.partition(":")
    if not tab or name not in _LABELS or not text.strip():
        raise TrainingError(f"expected 'P|N|PN|0[:target]<TAB>text', got {line[:60]!r}")
    if _LABELS[name] == (0,) and ("{+" in text or "{-" in text):
        raise TrainingError(f"a template without a label can't agree with it: {line[:60]!r}")
    value = float(strength or SURE)
    return Template(_LABELS[name], 1.0 - value if name == "N" and value < EVEN else value, text.strip())


@cache
def templates(part: str, capability: str) -> tuple[Template, ...]:
    """All templates of a capability in `part`, "train" or "test"."""
    lines = (TABLES / part / f"{capability}.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(parse(line) for line in lines)


@cache
def fillers(part: str, slot: str) -> tuple[str, ...]:
    """All fillers of a slot in `part`, or of the train part where `part` has none. Raises TrainingError for neither."""
    for folder in (part, "train"):
        path = TABLES / folder / f"{slot}.txt"
        if path.exists():
            return tuple(path.read_text(encoding="utf-8").splitlines())
    raise TrainingError(f"no fillers for the slot {{{slot}}}")


def fill(template: Template, part: str, rng: random.Random, fixed: dict[str, str] | None = None) -> tuple[str, int]:
    """A sentence made from `template`, and its sign. `fixed` slots get the filler it names instead of a random one."""
    sign = rng.choice(template.signs)

    def filler(match: re.Match[str]) -> str:
        relation, slot = match.groups()
        if relation:
            agreeing = relation == "+"
            slot = f"{'pos' if agreeing == (sign > 0) else 'neg'}_{slot}"
        if fixed and slot in fixed:
            return fixed[slot]
        return rng.choice(fillers(part, slot))

    return tidy(_SLOT.sub(filler, template.text)), sign


def tidy(text: str) -> str:
    """Name emoji, set "an" before a vowel, and begin with a capital letter."""
    text = re.sub(r"\ba (?=[aeio])", "an ", " ".join(name_emoji(text).split()), flags=re.IGNORECASE)
    return text[:1].upper() + text[1:]


def generate(capability: str, count: int, rng: random.Random, part: str = "train") -> list[Example]:
    """`count` sentences of one capability, every template as likely as the next."""
    choices = templates(part, capability)
    examples = []
    for _ in range(count):
        template = rng.choice(choices)
        text, sign = fill(template, part, rng)
        positive = EVEN if sign == 0 else target(sign > 0, template.strength)
        examples.append(Example(text, positive, capability))
    return examples
