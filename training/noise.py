"""What people's typing and copying adds to a text without changing what it says."""

import random
import re

from training.templates import fillers

MIN_WORD = 4
"""Letters of the shortest word that gets a typing slip: in a shorter one it often makes another word."""

_NEUTRAL_ADDITIONS = (
    "I saw it on {day}.", "Order {number}.", "I live in {city}.", "This was in {city}.", "Hello from {country}.",
    "My name is {name}.", "It was {number} o'clock.", "I wrote this on {day}.", "Mine is {neutral_adj}.",
    "It has {number} pages.", "We were {number} people.", "Sent from {city}.",
)  # fmt: skip


def typing_slip(text: str, rng: random.Random) -> str:
    """Swap, drop or double one inner letter of a random word; unchanged when no word is long enough."""
    words = text.split(" ")
    long = [index for index, word in enumerate(words) if len(word) >= MIN_WORD and word.isalpha()]
    if not long:
        return text
    index = rng.choice(long)
    word = words[index]
    at = rng.randrange(1, len(word) - 1)
    words[index] = rng.choice(
        (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
        )
    )
    return " ".join(words)


def addition(text: str, rng: random.Random) -> str:
    """Put an address, a handle, a hashtag or a sentence without sentiment before or after."""
    other = rng.choice(
        (
            f"https://t.co/{rng.randrange(16**8):x}",
            f"www.{rng.choice(fillers('train', 'object'))}.com/{rng.randrange(999)}",
            f"@{rng.choice(fillers('train', 'name')).lower().replace(' ', '_')}{rng.randrange(99)}",
            f"#{rng.choice(fillers('train', 'object'))}",
            re.sub(r"\{(\w+)\}", lambda slot: rng.choice(fillers("train", slot[1])), rng.choice(_NEUTRAL_ADDITIONS)),
        )
    )
    return f"{text} {other}" if rng.random() < 0.5 else f"{other} {text}"  # noqa: PLR2004 - as often before as after


def punctuation(text: str, rng: random.Random) -> str:
    """Drop, change or multiply the punctuation at the end."""
    return text.rstrip(" .!?") + rng.choice(("", ".", "!", "!!!", "...", " .", ","))


def markup(text: str, rng: random.Random) -> str:
    """Wrap the text in what copying leaves around it."""
    before, after = rng.choice((("<p>", "</p>"), ("", "<br /><br />"), ('"', '"'), ("(", ")"), ("* ", ""), ("> ", "")))
    return f"{before}{text}{after}"


def no_apostrophes(text: str, rng: random.Random) -> str:
    """Write contractions as people do in a hurry ("isnt"), or spell the negated ones out."""
    if rng.random() < 0.5:  # noqa: PLR2004 - each as often
        return re.sub(r"(?<=\w)['\u2019](?=\w)", "", text)
    text = re.sub(r"\b(ca)n't\b", "cannot", text, flags=re.IGNORECASE)
    return re.sub(r"(?<=\w)n't\b", " not", text)


_CHANGES = (typing_slip, typing_slip, typing_slip, addition, addition, punctuation, markup, no_apostrophes)


def noisy(text: str, share: float, rng: random.Random) -> str:
    """`text`, with the probability `share` after one random change of those above."""
    return rng.choice(_CHANGES)(text, rng) if rng.random() < share else text
