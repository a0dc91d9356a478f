"""Texts with one right label, by capability: what any sentiment model should be able to do."""

from .cases import Label, Polarity
from .long_texts import LONG_TEXTS
from .mood_emoji import MOOD_EMOJI

POSITIVE, NEGATIVE = Label.POSITIVE, Label.NEGATIVE

VOCABULARY = (
    Polarity("vocabulary/wonderful", POSITIVE, "Wonderful."),
    Polarity("vocabulary/delightful", POSITIVE, "What a delightful surprise."),
    Polarity("vocabulary/love", POSITIVE, "I love you."),
    Polarity("vocabulary/well-done", POSITIVE, "well done"),
    Polarity("vocabulary/grateful", POSITIVE, "We are so grateful."),
    Polarity("vocabulary/five-stars", POSITIVE, "Five stars out of five."),
    Polarity("vocabulary/thumbs-up", POSITIVE, "Thumbs up from the whole family."),
    Polarity("vocabulary/awful", NEGATIVE, "Awful."),
    Polarity("vocabulary/hate", NEGATIVE, "I hate you."),
    Polarity("vocabulary/rip-off", NEGATIVE, "What a rip-off."),
    Polarity("vocabulary/dreadful", NEGATIVE, "A dreadful evening."),
    Polarity("vocabulary/sucks", NEGATIVE, "this sucks"),
    Polarity("vocabulary/one-star", NEGATIVE, "One star, and only because zero is not on offer."),
    Polarity("vocabulary/ashamed", NEGATIVE, "You should be ashamed of yourselves."),
)

DOMAINS = (
    Polarity(
        "domain/film-gripping",
        POSITIVE,
        "Gripping from the first scene to the last, with a lead who is a joy to watch.",
    ),
    Polarity("domain/film-tears", POSITIVE, "The ending moved me to tears and I want to see it again."),
    Polarity("domain/film-wooden", NEGATIVE, "Wooden acting, a limp script and jokes that die on arrival."),
    Polarity("domain/film-walked-out", NEGATIVE, "Half of the audience walked out before the second act."),
    Polarity(
        "domain/shop-arrived-early", POSITIVE, "The kettle arrived a day early, well packed, and works perfectly."
    ),
    Polarity("domain/shop-every-penny", POSITIVE, "These boots are worth every penny."),
    Polarity("domain/shop-broke", NEGATIVE, "The zip broke on the second day and the seller refuses a refund."),
    Polarity("domain/shop-wrong-size", NEGATIVE, "Wrong size, wrong colour, and it smells of glue."),
    Polarity("domain/restaurant-fresh", POSITIVE, "Fresh fish, friendly waiters and a lovely view of the harbour."),
    Polarity("domain/restaurant-back-soon", POSITIVE, "Best dumplings in town, we will be back soon."),
    Polarity(
        "domain/restaurant-cold-soup", NEGATIVE, "The soup was cold, the bread was stale and the waiter was rude."
    ),
    Polarity("domain/restaurant-ill", NEGATIVE, "Two of us were ill after eating the mussels here."),
    Polarity(
        "domain/support-patient",
        POSITIVE,
        "Your colleague was patient and kind, and solved my problem in five minutes.",
    ),
    Polarity(
        "domain/support-thanks", POSITIVE, "Thank you for the quick refund, I am very happy with how you handled this."
    ),
    Polarity("domain/support-on-hold", NEGATIVE, "I was on hold for an hour and then somebody hung up on me."),
    Polarity("domain/support-ticket-closed", NEGATIVE, "You closed my ticket again without reading it."),
    Polarity(
        "domain/software-fast-install", POSITIVE, "Installs in seconds, the documentation is clear and it just works."
    ),
    Polarity("domain/software-saves-hours", POSITIVE, "This plugin saves me hours every week."),
    Polarity("domain/software-crashes", NEGATIVE, "The app crashes every time I open the settings."),
    Polarity("domain/software-lost-work", NEGATIVE, "The last update deleted a month of my work."),
)

NEGATION = (
    Polarity("negation/not-good", NEGATIVE, "The film is not good."),
    Polarity("negation/not-happy", NEGATIVE, "I am not happy with my order."),
    Polarity("negation/never-enjoyed", NEGATIVE, "I never enjoyed a single episode."),
    Polarity("negation/no-fun", NEGATIVE, "This game is no fun."),
    Polarity("negation/nobody-liked", NEGATIVE, "Nobody at our table liked the food."),
    Polarity("negation/lacks", NEGATIVE, "It lacks charm, wit and any reason to exist."),
    Polarity("negation/without-talent", NEGATIVE, "A singer without talent."),
    Polarity("negation/cannot-recommend", NEGATIVE, "I cannot recommend this hotel to anyone."),
    Polarity("negation/neither-nor", NEGATIVE, "Neither funny nor clever."),
    Polarity("negation/hardly-impressive", NEGATIVE, "The picture quality is hardly impressive."),
    Polarity("negation/far-from", NEGATIVE, "The battery is far from great."),
    Polarity("negation/anything-but", NEGATIVE, "The staff were anything but helpful."),
    Polarity("negation/nothing-good", NEGATIVE, "There is nothing good about this update."),
    Polarity("negation/fails-to", NEGATIVE, "The sequel fails to entertain."),
)

NEGATION_AT_A_DISTANCE = (
    Polarity("distant-negation/think", NEGATIVE, "I don't think that anyone could call this a good meal."),
    Polarity(
        "distant-negation/weather", NEGATIVE, "I can't say, after a week at the coast with my aunt, that I liked it."
    ),
    Polarity(
        "distant-negation/believe", NEGATIVE, "I do not believe, having used it since May, that it is a great phone."
    ),
    Polarity(
        "distant-negation/not-one", NEGATIVE, "Not one of the forty songs that they played on Sunday was enjoyable."
    ),
    Polarity(
        "distant-negation/wasnt-bad", POSITIVE, "I wouldn't say, having seen all nine of his plays, that it is bad."
    ),
    Polarity(
        "distant-negation/no-regrets", POSITIVE, "I don't for a moment, now that the bill is paid, regret coming."
    ),
)

NEGATED_NEGATIVES = (
    Polarity("negated-negative/not-bad", POSITIVE, "Not bad at all."),
    Polarity("negated-negative/never-boring", POSITIVE, "The show is never boring."),
    Polarity("negated-negative/no-complaints", POSITIVE, "No complaints from us."),
    Polarity("negated-negative/nothing-wrong", POSITIVE, "There is nothing wrong with this car."),
    Polarity("negated-negative/no-problems", POSITIVE, "I have had no problems with it so far."),
    Polarity("negated-negative/not-disappointed", POSITIVE, "I was not disappointed."),
    Polarity("negated-negative/never-let-down", POSITIVE, "This shop has never let me down."),
    Polarity("negated-negative/without-flaw", POSITIVE, "A performance without a single flaw."),
    Polarity("negated-negative/no-bugs", POSITIVE, "We found no bugs, no crashes and no annoying pop-ups."),
    Polarity("negated-negative/could-not-be-better", POSITIVE, "It could not be better."),
)

DOUBLE_NEGATION = (
    Polarity("double-negation/cannot-not", POSITIVE, "You cannot not love this dog."),
    Polarity("double-negation/not-unpleasant", POSITIVE, "The ride is not unpleasant."),
    Polarity("double-negation/nobody-dislikes", POSITIVE, "There is nobody who does not like her cooking."),
    Polarity("double-negation/never-fails", POSITIVE, "This band never fails to amaze me."),
    Polarity("double-negation/not-without-charm", POSITIVE, "The old theatre is not without its charm."),
    Polarity("double-negation/not-that-not-bad", NEGATIVE, "It is not true that the room was not dirty."),
)

CONTRACTIONS = (
    Polarity("contraction/isnt", NEGATIVE, "It isn't funny."),
    Polarity("contraction/isnt-bare", NEGATIVE, "It isnt funny."),
    Polarity("contraction/didnt", NEGATIVE, "We didn't like the service."),
    Polarity("contraction/didnt-bare", NEGATIVE, "We didnt like the service."),
    Polarity("contraction/doesnt", NEGATIVE, "The new version doesn't work."),
    Polarity("contraction/doesnt-bare", NEGATIVE, "The new version doesnt work."),
    Polarity("contraction/wasnt", NEGATIVE, "The sound wasn't good."),
    Polarity("contraction/wasnt-curly", NEGATIVE, "The sound wasn\N{RIGHT SINGLE QUOTATION MARK}t good."),
    Polarity("contraction/wasnt-bare", NEGATIVE, "The sound wasnt good."),
    Polarity("contraction/couldnt-happier", POSITIVE, "I couldn't be happier."),
    Polarity("contraction/couldnt-happier-bare", POSITIVE, "I couldnt be happier."),
)

INTENSITY = (
    Polarity("intensity/incredibly", POSITIVE, "An incredibly helpful librarian."),
    Polarity("intensity/so-so-good", POSITIVE, "The cheesecake is so, so good."),
    Polarity("intensity/quite", POSITIVE, "Quite an enjoyable afternoon."),
    Polarity("intensity/pretty", POSITIVE, "Pretty good for a first try."),
    Polarity("intensity/absolutely", POSITIVE, "We are absolutely over the moon with our kitchen."),
    Polarity("intensity/slightly", NEGATIVE, "Slightly disappointing."),
    Polarity("intensity/barely", NEGATIVE, "The second season is barely watchable."),
    Polarity("intensity/mildly", NEGATIVE, "Only mildly amusing, and only for ten minutes."),
    Polarity("intensity/a-little-too", NEGATIVE, "A little too salty and a lot too expensive."),
    Polarity("intensity/utterly", NEGATIVE, "The instructions are utterly confusing."),
)

COMPARATIVES = (
    Polarity("comparative/better-than-first", POSITIVE, "Much better than the first part."),
    Polarity("comparative/best-so-far", POSITIVE, "The best laptop I have owned so far."),
    Polarity("comparative/faster", POSITIVE, "It is twice as fast as the old one and easier to use."),
    Polarity("comparative/nothing-beats", POSITIVE, "Nothing beats their pancakes."),
    Polarity("comparative/worse-than-last", NEGATIVE, "Even worse than last year."),
    Polarity("comparative/worst", NEGATIVE, "The worst flight of my life."),
    Polarity("comparative/seen-better", NEGATIVE, "I have seen better school plays."),
    Polarity("comparative/rather-dentist", NEGATIVE, "I would rather go to the dentist than sit through this again."),
    Polarity("comparative/less-tasty", NEGATIVE, "The new recipe is less tasty than the old one."),
    Polarity("comparative/not-as-good", NEGATIVE, "Not as good as the book."),
)

TEMPORAL = (
    Polarity("temporal/used-to-hate", POSITIVE, "I used to hate this place, but now I love it."),
    Polarity("temporal/once-buggy", POSITIVE, "Last year it was slow and buggy, today it is a pleasure to use."),
    Polarity("temporal/grew-on-me", POSITIVE, "At first I found her voice annoying, now I can't get enough of it."),
    Polarity(
        "temporal/no-longer-bad", POSITIVE, "The coffee is no longer terrible since the new owner came, it is great."
    ),
    Polarity("temporal/now-love-reversed", POSITIVE, "Now I love it, though in the past I hated it."),
    Polarity("temporal/used-to-love", NEGATIVE, "I used to love this place, but now I hate it."),
    Polarity("temporal/was-great", NEGATIVE, "It was a great newspaper once; today it is trash."),
    Polarity("temporal/started-well", NEGATIVE, "The series started brilliantly and has become unwatchable."),
    Polarity("temporal/no-longer-fun", NEGATIVE, "It is no longer fun."),
    Polarity("temporal/now-hate-reversed", NEGATIVE, "Now I hate it, though in the past I loved it."),
)

CONTRAST = (
    Polarity("contrast/ugly-but", POSITIVE, "The box is ugly, but the radio inside is fantastic."),
    Polarity("contrast/slow-but", POSITIVE, "A slow start, but what follows is simply magnificent."),
    Polarity("contrast/expensive-but", POSITIVE, "Expensive, but I would buy it again without a second thought."),
    Polarity("contrast/although-noisy", POSITIVE, "Although the street was noisy, we had a marvellous stay."),
    Polarity("contrast/despite-rain", POSITIVE, "Despite the awful weather we enjoyed every minute."),
    Polarity("contrast/critics-but-i", POSITIVE, "The critics hated it, but I adored it."),
    Polarity("contrast/pretty-but", NEGATIVE, "Pretty pictures, but the story is an insult to the audience."),
    Polarity("contrast/cheap-but", NEGATIVE, "It is cheap and looks nice, but it fell apart within a week."),
    Polarity("contrast/although-talented", NEGATIVE, "Although the cast is talented, the film is a tedious mess."),
    Polarity("contrast/despite-budget", NEGATIVE, "Despite its huge budget it looks dull and feels empty."),
    Polarity("contrast/friends-but-i", NEGATIVE, "All my friends loved it, but I was bored to death."),
    Polarity("contrast/wanted-to-like", NEGATIVE, "I really wanted to like this, but I can't."),
)

SARCASM = (
    Polarity("sarcasm/monday", NEGATIVE, "Oh great, another update that breaks everything. Just what I needed."),
    Polarity("sarcasm/nap", NEGATIVE, "A wonderful film if you need a nap."),
    Polarity("sarcasm/bravo", NEGATIVE, "Bravo, you managed to lose my parcel twice."),
    Polarity("sarcasm/doorstop", NEGATIVE, "It makes an excellent doorstop."),
    Polarity("sarcasm/love-waiting", NEGATIVE, "I just love waiting two hours for a cold pizza."),
    Polarity("sarcasm/highlight", NEGATIVE, "The closing credits were my favourite part."),
)

QUESTIONS = (
    Polarity("question/not-to-like", POSITIVE, "What is there not to like?"),
    Polarity("question/isnt-lovely", POSITIVE, "Isn't she just lovely?"),
    Polarity("question/how-so-good", POSITIVE, "How can a supermarket cake taste this good?"),
    Polarity("question/answered-yes", POSITIVE, "Would I go there again? Yes, tomorrow if I could."),
    Polarity("question/who-pays", NEGATIVE, "Who would pay money for this rubbish?"),
    Polarity("question/why-so-hard", NEGATIVE, "Why is it so hard to get a simple answer from you people?"),
    Polarity("question/call-this", NEGATIVE, "Do you call this clean?"),
    Polarity("question/answered-no", NEGATIVE, "Was it worth the money? No."),
)

MINIMUM_FUNCTIONALITY: tuple[Polarity, ...] = (
    *VOCABULARY,
    *DOMAINS,
    *LONG_TEXTS,
    *NEGATION,
    *NEGATION_AT_A_DISTANCE,
    *NEGATED_NEGATIVES,
    *DOUBLE_NEGATION,
    *CONTRACTIONS,
    *INTENSITY,
    *COMPARATIVES,
    *TEMPORAL,
    *CONTRAST,
    *SARCASM,
    *QUESTIONS,
    *MOOD_EMOJI,
)
