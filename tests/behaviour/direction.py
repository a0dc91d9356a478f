"""Pairs of texts whose second one must not move the score the wrong way."""

from .cases import Change, Direction

UP, DOWN = Change.UP, Change.DOWN


def _added(case_id: str, change: Change, before: str, addition: str) -> Direction:
    """`before`, and `before` with one more sentence."""
    return Direction(case_id, change, before, f"{before} {addition}")


# Where the score can move the wrong way: a positive sentence joins a positive, mixed or neutral text, never a purely
# negative one, whose score has no room to fall; and the other way round.
ADDED_POSITIVE = (
    _added("added-positive/film", UP, "The photography is beautiful.", "I enjoyed every minute."),
    _added("added-positive/shop", UP, "The parcel came on Thursday.", "I am delighted with the dress."),
    _added(
        "added-positive/restaurant", UP, "The place is small and noisy, the food is good.", "We had a lovely evening."
    ),
    _added(
        "added-positive/support",
        UP,
        "I wrote to you last week about my bill.",
        "Your answer was quick and very helpful.",
    ),
    _added("added-positive/software", UP, "It has a few bugs, and a good manual.", "I use it every day and love it."),
    _added("added-positive/hotel", UP, "The hotel is next to the station.", "Excellent beds."),
    _added("added-positive/book", UP, "The first chapters are slow, the rest is thrilling.", "A masterpiece."),
    _added("added-positive/plain", UP, "I have been here before.", "It is great."),
    _added("added-positive/after-thanks", UP, "Thanks for everything.", "You are the best team I know."),
    _added("added-positive/recommend", UP, "The course takes six weeks.", "I recommend it to everyone."),
)

ADDED_NEGATIVE = (
    _added("added-negative/film", DOWN, "The dialogue is clumsy.", "I was bored throughout."),
    _added("added-negative/shop", DOWN, "The parcel came on Thursday.", "The dress is torn and I am furious."),
    _added("added-negative/restaurant", DOWN, "The place is pretty, the food is bland.", "We had a miserable evening."),
    _added("added-negative/support", DOWN, "I wrote to you last week about my bill.", "Nobody has bothered to answer."),
    _added(
        "added-negative/software", DOWN, "It has a few bugs, and a good manual.", "It is a pain to use and I hate it."
    ),
    _added("added-negative/hotel", DOWN, "The hotel is next to the station.", "Awful beds."),
    _added("added-negative/book", DOWN, "The first chapters are fine, the rest is dull.", "A waste of time."),
    _added("added-negative/plain", DOWN, "I have been here before.", "It is terrible."),
    _added("added-negative/after-complaint", DOWN, "My order is missing.", "You are the worst shop I know."),
    _added("added-negative/avoid", DOWN, "The course takes six weeks.", "Stay away from it."),
)

STRONGER = (
    Direction("stronger/very-good", UP, "The food was good.", "The food was very good."),
    Direction("stronger/extremely-useful", UP, "The tool is useful.", "The tool is extremely useful."),
    Direction("stronger/really-like", UP, "I like this bag.", "I really like this bag."),
    Direction("stronger/truly-nice", UP, "A nice idea.", "A truly nice idea."),
    Direction("stronger/good-to-superb", UP, "The acting is good.", "The acting is superb."),
    Direction("stronger/so-much", UP, "I enjoyed the trip.", "I enjoyed the trip so much."),
    Direction("stronger/very-slow", DOWN, "The website is slow.", "The website is very slow."),
    Direction("stronger/extremely-noisy", DOWN, "The fan is noisy.", "The fan is extremely noisy."),
    Direction("stronger/really-dislike", DOWN, "I dislike the colour.", "I really dislike the colour."),
    Direction("stronger/utterly-dull", DOWN, "A dull lecture.", "An utterly dull lecture."),
    Direction("stronger/bad-to-atrocious", DOWN, "The acting is bad.", "The acting is atrocious."),
    Direction("stronger/so-disappointed", DOWN, "I am disappointed.", "I am so disappointed."),
)

WEAKER = (
    Direction("weaker/somewhat-good", DOWN, "The food was good.", "The food was somewhat good."),
    Direction("weaker/fairly-useful", DOWN, "The tool is useful.", "The tool is fairly useful."),
    Direction("weaker/kind-of-like", DOWN, "I like this bag.", "I kind of like this bag."),
    Direction("weaker/mostly-enjoyed", DOWN, "I enjoyed the trip.", "I mostly enjoyed the trip."),
    Direction("weaker/superb-to-decent", DOWN, "The acting is superb.", "The acting is decent."),
    Direction("weaker/a-bit-slow", UP, "The website is slow.", "The website is a bit slow."),
    Direction("weaker/slightly-noisy", UP, "The fan is noisy.", "The fan is slightly noisy."),
    Direction("weaker/somewhat-dull", UP, "A dull lecture.", "A somewhat dull lecture."),
    Direction("weaker/a-little-disappointed", UP, "I am disappointed.", "I am a little disappointed."),
    Direction("weaker/atrocious-to-mediocre", UP, "The acting is atrocious.", "The acting is mediocre."),
)

ADDITIONS: tuple[Direction, ...] = (*ADDED_POSITIVE, *ADDED_NEGATIVE)
DEGREES: tuple[Direction, ...] = (*STRONGER, *WEAKER)
DIRECTION: tuple[Direction, ...] = (*ADDITIONS, *DEGREES)
