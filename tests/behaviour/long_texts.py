"""Texts of a paragraph, in pairs: the same opening, and a verdict that only shows later."""

from .cases import Label, Polarity

LONG_TEXTS = (
    Polarity(
        "long/hotel-positive",
        Label.POSITIVE,
        "We booked three nights at short notice and did not know what to expect. The receptionist greeted us by name, "
        "carried the pram up the stairs and found us a quieter room at the back. Breakfast was served until eleven, "
        "with warm rolls, fruit from the owner's garden and excellent coffee. The beds were comfortable, the bathroom "
        "was spotless and the tram stops in front of the door. We have already booked the same room for next spring.",
    ),
    Polarity(
        "long/hotel-negative",
        Label.NEGATIVE,
        "We booked three nights at short notice and did not know what to expect. Nobody was at the desk when we came, "
        "and it took forty minutes until somebody found a key, which turned out to open a room that was already taken. "
        "The one we got in the end had mould around the window and hair in the shower. Breakfast was a packet of dry "
        "biscuits. When we complained, the manager shrugged and told us to write a letter. We left after one night.",
    ),
    Polarity(
        "long/novel-positive",
        Label.POSITIVE,
        "The story follows a lighthouse keeper and her brother over thirty years, from the first storm to the day when "
        "the lamp becomes automatic. It begins quietly, with lists of oil and wicks and visitors, and it takes a while "
        "to see how much is going on beneath. By the middle I could not put it down. The prose is clear and warm, the "
        "characters feel like people I have met, and the last chapter is one of the most beautiful I have ever read.",
    ),
    Polarity(
        "long/novel-negative",
        Label.NEGATIVE,
        "The story follows a lighthouse keeper and her brother over thirty years, from the first storm to the day when "
        "the lamp becomes automatic. That could have made a good book. Instead we get page after page of lists, "
        "dialogue that no living person would speak, and a brother who exists only to explain the plot. By the middle "
        "I was counting the pages, and the last chapter is so lazy that I felt cheated out of my time and money.",
    ),
    Polarity(
        "long/late-verdict-positive",
        Label.POSITIVE,
        "I ordered the bicycle on the fourth of March. It came in two boxes, one with the frame and one with wheels "
        "and saddle. The manual has twelve pages and lists the tools that you need. I put it together in the yard "
        "on a Saturday. Since then I have ridden it to work and back every day, about nine kilometres each way, and I "
        "am absolutely thrilled with it.",
    ),
    Polarity(
        "long/late-verdict-negative",
        Label.NEGATIVE,
        "I ordered the bicycle on the fourth of March. It came in two boxes, one with the frame and one with wheels "
        "and saddle. The manual has twelve pages and lists the tools that you need. I put it together in the yard "
        "on a Saturday. Since then I have ridden it to work and back every day, about nine kilometres each way, and I "
        "regret ever buying this piece of junk.",
    ),
)
