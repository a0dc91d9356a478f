"""Emoji that name a mood: the tokenizer of the bundled package reads them by their Unicode names."""

from .cases import Label, Polarity

POSITIVE, NEGATIVE = Label.POSITIVE, Label.NEGATIVE


def _case(case_id: str, label: Label, text: str) -> Polarity:
    return Polarity(f"emoji-mood/{case_id}", label, text)


MOOD_EMOJI = (
    _case("grinning", POSITIVE, "\N{GRINNING FACE}"),
    _case("heart-eyes", POSITIVE, "\N{SMILING FACE WITH HEART-SHAPED EYES}"),
    _case("thumbs-up", POSITIVE, "\N{THUMBS UP SIGN}"),
    _case("heart", POSITIVE, "\N{HEAVY BLACK HEART}"),
    _case("party", POSITIVE, "\N{PARTY POPPER}"),
    _case("clapping", POSITIVE, "\N{CLAPPING HANDS SIGN}"),
    _case("joy", POSITIVE, "my cat and the vacuum cleaner \N{FACE WITH TEARS OF JOY}"),
    _case("home", POSITIVE, "home at last \N{SMILING FACE WITH SMILING EYES}"),
    _case("exam", POSITIVE, "exam results came today \N{PARTY POPPER}\N{PARTY POPPER}"),
    _case("grandma", POSITIVE, "two weeks at grandma's \N{SPARKLING HEART}"),
    _case("praise", POSITIVE, "Best pancakes ever \N{FACE SAVOURING DELICIOUS FOOD}"),
    _case("pouting", NEGATIVE, "\N{POUTING FACE}"),
    _case("angry", NEGATIVE, "\N{ANGRY FACE}"),
    _case("crying", NEGATIVE, "\N{CRYING FACE}"),
    _case("loudly-crying", NEGATIVE, "\N{LOUDLY CRYING FACE}"),
    _case("thumbs-down", NEGATIVE, "\N{THUMBS DOWN SIGN}"),
    _case("broken-heart", NEGATIVE, "\N{BROKEN HEART}"),
    _case("vomiting", NEGATIVE, "the milk in this hotel \N{FACE WITH OPEN MOUTH VOMITING}"),
    _case("train", NEGATIVE, "train again \N{POUTING FACE}\N{POUTING FACE}"),
    _case("keys", NEGATIVE, "left my keys in the taxi \N{WEARY FACE}"),
    _case("dog", NEGATIVE, "our dog died this morning \N{BROKEN HEART}"),
    _case("blame", NEGATIVE, "They sent the wrong size twice \N{FACE WITH ROLLING EYES}"),
)
