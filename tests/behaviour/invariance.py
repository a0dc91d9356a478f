"""Texts that differ in nothing that a reader would call sentiment: the score must stay where it is."""

from .cases import Invariance

# One swapped, dropped or doubled letter, never in the word that names the feeling.
TYPOS = (
    Invariance("typo/swap-restaurant", ("The restaurant was lovely.", "The restuarant was lovely.")),
    Invariance(
        "typo/drop-delivery", ("Terrible delivery, my box was crushed.", "Terrible delivry, my box was crushed.")
    ),
    Invariance("typo/swap-with", ("I am thrilled with my new desk.", "I am thrilled wiht my new desk.")),
    Invariance("typo/drop-software", ("This software is a disaster.", "This sofware is a disaster.")),
    Invariance("typo/swap-the", ("I loved the music and the costumes.", "I loved teh music and the costumes.")),
    Invariance("typo/drop-customer", ("Rude, slow customer support.", "Rude, slow custmer support.")),
    Invariance("typo/swap-film", ("A beautiful film about two sisters.", "A beautiful flim about two sisters.")),
    Invariance("typo/double-was", ("The hotel room was filthy.", "The hotel room wass filthy.")),
    Invariance("typo/drop-camera", ("The camera takes amazing photos.", "The camra takes amazing photos.")),
    Invariance("typo/swap-script", ("The script is an embarrassment.", "The scirpt is an embarrassment.")),
    Invariance("typo/drop-really", ("We really enjoyed our weekend.", "We realy enjoyed our weekend.")),
    Invariance("typo/swap-keyboard", ("This keyboard is useless.", "This keybaord is useless.")),
    Invariance("typo/swap-not", ("I do not recommend this.", "I do nto recommend this.")),
    Invariance("typo/drop-game", ("What an exciting game that was.", "What an exciting gme that was.")),
)

NAMES = (
    Invariance(
        "name/person-waiter", ("Our waiter Mark was great.", "Our waiter Tom was great.", "Our waiter Felix was great.")
    ),
    Invariance(
        "name/person-director",
        ("Novak has made a dull film.", "Meyer has made a dull film.", "Okafor has made a dull film."),
    ),
    Invariance(
        "name/person-support", ("Anna solved it at once.", "Birgit solved it at once.", "Carmen solved it at once.")
    ),
    Invariance("name/person-author", ("I gave up on this book by Harris.", "I gave up on this book by Tanaka.")),
    Invariance("name/person-neighbour", ("Mrs Baker makes a fabulous curry.", "Mrs Shepherd makes a fabulous curry.")),
    Invariance("name/person-surname-is-a-word", ("Mr Jones never called back.", "Mr Grace never called back.")),
    Invariance("name/place-city", ("The best week of my life was in Leeds.", "The best week of my life was in Porto.")),
    Invariance("name/place-station", ("The toilets at Hamm are disgusting.", "The toilets at Utrecht are disgusting.")),
    Invariance(
        "name/place-country", ("It was shipped from Chile and is broken.", "It was shipped from Norway and is broken.")
    ),
    Invariance("name/place-street", ("A charming little bar in Mill Lane.", "A charming little bar in Church Lane.")),
    Invariance(
        "name/brand-phone", ("My Nokia is a great phone.", "My Samsung is a great phone.", "My Sony is a great phone.")
    ),
    Invariance("name/number-price", ("It cost 20 euros and it is worthless.", "It cost 37 euros and it is worthless.")),
)


def _filled(case_id: str, template: str, fillers: tuple[str, ...]) -> Invariance:
    """`template` with its `{}` replaced by each filler."""
    return Invariance(case_id, tuple(template.format(filler) for filler in fillers))


# Who a text is about. The spread over the whole group counts, not only the distance to the first text.
_PRONOUNS = ("He", "She", "They")
_GENDERS = ("man", "woman", "boy", "girl", "non-binary person")
_FIRST_NAMES = ("Emily", "Jamal", "Mohammed", "Wei", "Priya", "Olga", "Santiago", "Chidi")
_NATIONALITIES = ("French", "Mexican", "Nigerian", "Chinese", "Iraqi", "Polish", "American", "Indian")
_COUNTRIES = ("France", "Mexico", "Nigeria", "China", "Iraq", "Poland", "America", "India")
_RELIGIONS = ("Christian", "Muslim", "Jewish", "Hindu", "Buddhist", "atheist")
_ORIENTATIONS = ("straight", "gay", "lesbian", "bisexual")
_ETHNICITIES = ("white", "black", "Asian", "Latino")
_ORIGINS = ("Syria", "the US", "Sudan", "Denmark", "Haiti", "Iran", "Canada", "Vietnam")
_CITIES = ("Kabul", "Boston", "Damascus", "Zurich", "Lagos", "Gaza", "Oslo", "Detroit")
_JOBS = ("nurse", "cleaner", "lawyer", "soldier", "banker", "politician", "farmer")
_AGES = ("old man", "young man", "old woman", "young woman", "teenager", "pensioner")
_DISABILITIES = ("blind", "deaf", "tall", "autistic", "left-handed")
FAIRNESS = (
    _filled("fairness/pronoun-positive", "{} did a brilliant job.", _PRONOUNS),
    _filled("fairness/pronoun-negative", "{} ruined the whole evening.", _PRONOUNS),
    _filled("fairness/pronoun-neutral", "{} went to the bank in the morning.", _PRONOUNS),
    _filled("fairness/gender-positive", "The {} at the counter was so kind to us.", _GENDERS),
    _filled("fairness/gender-negative", "The {} at the counter was rude to us.", _GENDERS),
    _filled("fairness/gender-neutral", "A {} sat next to me on the train.", _GENDERS),
    _filled("fairness/first-name-positive", "{} gave a superb concert.", _FIRST_NAMES),
    _filled("fairness/first-name-negative", "{} gave a tedious speech.", _FIRST_NAMES),
    _filled("fairness/first-name-neutral", "{} lives on the second floor.", _FIRST_NAMES),
    _filled("fairness/nationality-positive", "A delicious meal, cooked by a {} chef.", _NATIONALITIES),
    _filled("fairness/nationality-negative", "An awful meal, cooked by a {} chef.", _NATIONALITIES),
    _filled("fairness/nationality-neutral", "My new colleague has a {} passport.", _NATIONALITIES),
    _filled("fairness/country-positive", "We loved this film from {}.", _COUNTRIES),
    _filled("fairness/country-negative", "We were bored by this film from {}.", _COUNTRIES),
    _filled("fairness/country-neutral", "This film was shot in {}.", _COUNTRIES),
    _filled("fairness/religion-positive", "Our {} neighbours are wonderful people.", _RELIGIONS),
    _filled("fairness/religion-negative", "Our {} neighbours are horrible people.", _RELIGIONS),
    _filled("fairness/religion-neutral", "The family next door is {}.", _RELIGIONS),
    _filled("fairness/orientation-positive", "The {} couple in the lead roles is a delight.", _ORIENTATIONS),
    _filled("fairness/orientation-negative", "The {} couple in the lead roles is a bore.", _ORIENTATIONS),
    _filled("fairness/orientation-neutral", "The story is about a {} couple.", _ORIENTATIONS),
    _filled("fairness/ethnicity-positive", "Two {} teenagers helped me, that was lovely.", _ETHNICITIES),
    _filled("fairness/ethnicity-negative", "Two {} teenagers shouted at me, that was nasty.", _ETHNICITIES),
    _filled("fairness/ethnicity-neutral", "Two {} teenagers were waiting for the bus.", _ETHNICITIES),
    _filled("fairness/origin-neutral", "Her parents were born in {}.", _ORIGINS),
    _filled("fairness/city-neutral", "We have an office in {}.", _CITIES),
    _filled("fairness/job-neutral", "My sister is a {}.", _JOBS),
    _filled("fairness/age-neutral", "A {} asked me for the time.", _AGES),
    _filled("fairness/disability-neutral", "One of the pupils is {}.", _DISABILITIES),
)

PUNCTUATION = (
    Invariance("punctuation/no-full-stop", ("I adore this game.", "I adore this game")),
    Invariance("punctuation/exclamation", ("I adore this game.", "I adore this game!!!")),
    Invariance("punctuation/ellipsis", ("The plot makes no sense.", "The plot makes no sense...")),
    Invariance("punctuation/comma", ("A clever, funny, warm play.", "A clever funny warm play")),
    Invariance("punctuation/quotes", ('A "terrible" idea, badly done.', "A terrible idea, badly done.")),
    Invariance(
        "punctuation/curly-quotes", ("It's a real pleasure.", "It\N{RIGHT SINGLE QUOTATION MARK}s a real pleasure.")
    ),
    Invariance("punctuation/dash", ("Poor food, poor service.", "Poor food \N{EM DASH} poor service.")),
    Invariance("punctuation/brackets", ("The soup was cold and tasteless.", "(The soup was cold and tasteless.)")),
)

CASE = (
    Invariance("case/upper-positive", ("The garden is beautiful.", "THE GARDEN IS BEAUTIFUL.")),
    Invariance("case/upper-negative", ("This is the worst shop in town.", "THIS IS THE WORST SHOP IN TOWN.")),
    Invariance("case/lower", ("Our Guide Was Excellent.", "our guide was excellent.")),
    Invariance("case/one-word", ("I hated the sequel.", "I HATED the sequel.")),
    Invariance("case/mixed", ("such a boring lecture", "sUcH a BoRiNg LeCtUrE")),
)

WHITESPACE = (
    Invariance("whitespace/around", ("Great tent, easy to pitch.", "   Great tent, easy to pitch.  \n")),
    Invariance("whitespace/double", ("Great tent, easy to pitch.", "Great  tent,  easy   to  pitch.")),
    Invariance("whitespace/newlines", ("Slow and full of bugs.", "Slow\nand\nfull\nof\nbugs.")),
    Invariance("whitespace/tabs", ("Slow and full of bugs.", "Slow\tand\tfull\tof\tbugs.")),
    Invariance("whitespace/windows", ("Lovely staff. Clean rooms.", "Lovely staff.\r\n\r\nClean rooms.")),
    Invariance(
        "whitespace/no-break-space",
        ("I want my money back.", "I want my\N{NO-BREAK SPACE}money\N{NO-BREAK SPACE}back."),
    ),
)

# Emoji that name a thing, not a mood.
EMOJI = (
    Invariance("emoji/pizza", ("The pizza was delicious.", "The pizza was delicious. \N{SLICE OF PIZZA}")),
    Invariance("emoji/train", ("The train was late and filthy.", "\N{TRAIN} The train was late and filthy.")),
    Invariance(
        "emoji/film", ("One of the best films ever made.", "\N{CLAPPER BOARD} One of the best films ever made.")
    ),
    Invariance("emoji/phone", ("My phone died after a week.", "My phone \N{MOBILE PHONE} died after a week.")),
    Invariance("emoji/several", ("A great hike.", "A great hike. \N{FOOTPRINTS}\N{EVERGREEN TREE}\N{WORLD MAP}")),
)

NEUTRAL_ADDITIONS = (
    Invariance(
        "addition/url-positive", ("This recipe is fantastic.", "This recipe is fantastic. https://example.org/r/42")
    ),
    Invariance(
        "addition/url-negative", ("This recipe is a failure.", "https://example.org/r/42 This recipe is a failure.")
    ),
    Invariance("addition/tuesday-positive", ("A marvellous play.", "A marvellous play. I saw it on Tuesday.")),
    Invariance("addition/tuesday-negative", ("A tedious play.", "A tedious play. I saw it on Tuesday.")),
    Invariance("addition/handle-positive", ("Thanks for the great help!", "@example_shop Thanks for the great help!")),
    Invariance("addition/handle-negative", ("Your app is broken again.", "@example_shop Your app is broken again.")),
    Invariance("addition/hashtag", ("The concert was amazing.", "The concert was amazing. #friday #berlin")),
    Invariance("addition/order-number", ("The lamp is ugly.", "Order 4711-22. The lamp is ugly.")),
    Invariance(
        "addition/who-i-am", ("The museum is fascinating.", "I am a plumber from Kent. The museum is fascinating.")
    ),
    Invariance(
        "addition/colour", ("These headphones are rubbish.", "These headphones are rubbish. Mine are the grey ones.")
    ),
    Invariance(
        "addition/greeting", ("I am very disappointed.", "Hello, I am writing about my order. I am very disappointed.")
    ),
    Invariance("addition/sent-from", ("Thank you, excellent work.", "Thank you, excellent work. Sent from my phone.")),
    Invariance("addition/length", ("A touching story.", "A touching story. It is 92 minutes long and in colour.")),
    Invariance("addition/html", ("A charmless remake.", "<p>A charmless remake.</p>")),
)

INVARIANCE: tuple[Invariance, ...] = (
    *TYPOS,
    *NAMES,
    *FAIRNESS,
    *PUNCTUATION,
    *CASE,
    *WHITESPACE,
    *EMOJI,
    *NEUTRAL_ADDITIONS,
)
