"""Texts without sentiment: the model has two labels, so that "none" is a score near 0.5."""

from .cases import NoSentiment

QUESTIONS = (
    NoSentiment("no-sentiment/question-delivery", "When will my parcel be delivered?"),
    NoSentiment("no-sentiment/question-password", "How do I reset the password of my account?"),
    NoSentiment("no-sentiment/question-refund", "I returned the shoes last week, when do I get the money back?"),
    NoSentiment("no-sentiment/question-lost-card", "I have lost my bank card, whom should I call?"),
    NoSentiment("no-sentiment/question-declined", "My payment was declined, do you know the reason?"),
    NoSentiment("no-sentiment/question-opening-hours", "Are you open on Christmas Eve?"),
    NoSentiment("no-sentiment/question-platform", "Which platform does the train to Leeds leave from?"),
    NoSentiment("no-sentiment/question-recipe", "How much rice do I need for six people?"),
    NoSentiment("no-sentiment/command-alarm", "Wake me at a quarter to seven tomorrow."),
    NoSentiment("no-sentiment/command-address", "Please send the bill to my new address."),
)

STATEMENTS = (
    NoSentiment(
        "no-sentiment/encyclopaedia-river", "The Elbe rises in the Giant Mountains and flows to the North Sea."
    ),
    NoSentiment("no-sentiment/encyclopaedia-element", "Tin is a chemical element with the atomic number 50."),
    NoSentiment("no-sentiment/encyclopaedia-person", "She studied medicine in Vienna and later taught at Graz."),
    NoSentiment("no-sentiment/encyclopaedia-war", "The siege began in June 1645 and lasted for three months."),
    NoSentiment("no-sentiment/news-council", "The council will vote on the new cycle lane on Thursday."),
    NoSentiment("no-sentiment/news-shares", "The company's shares closed two per cent lower on Monday."),
    NoSentiment("no-sentiment/plot-detective", "A retired detective looks for a girl who vanished thirty years ago."),
    NoSentiment("no-sentiment/plot-brothers", "Two brothers inherit a vineyard and must decide whether to sell it."),
    NoSentiment("no-sentiment/manual", "Press the button for three seconds until the light turns green."),
    NoSentiment("no-sentiment/object", "The box is made of cardboard and holds twelve bottles."),
    NoSentiment("no-sentiment/daily", "I had toast for breakfast and took the bus to work."),
    NoSentiment("no-sentiment/appointment", "The dentist moved my appointment to next Wednesday."),
)

# What is no language, or none that the model knows.
NO_LANGUAGE = (
    NoSentiment("no-sentiment/number", "4711"),
    NoSentiment("no-sentiment/code", "for i in range(10): print(i)"),
    NoSentiment("no-sentiment/log-line", "2024-05-01T12:00:00Z INFO worker 3 started"),
    NoSentiment("no-sentiment/address", "https://example.org/articles/42?page=3"),
    NoSentiment("no-sentiment/letters", "xqzj vvkp wqqx zzyx"),
)

FOREIGN = (
    NoSentiment("foreign/german", "Die Bibliothek ist montags bis freitags von neun bis achtzehn Uhr geöffnet."),
    NoSentiment("foreign/french", "Le train pour Lyon part du quai numéro quatre à dix heures."),
    NoSentiment("foreign/spanish", "El museo está al lado de la estación de autobuses."),
    NoSentiment("foreign/italian", "La riunione è stata spostata a giovedì pomeriggio."),
    NoSentiment("foreign/danish", "Bussen kører hver halve time fra torvet til havnen."),
    NoSentiment("foreign/romanian", "Biletele se cumpără de la casă sau de la automat."),
    NoSentiment("foreign/hungarian", "A könyvtár a főtéren van, a posta mellett."),
    NoSentiment("foreign/swedish", "Fönstret är två meter brett och en meter högt."),
    NoSentiment("foreign/estonian", "Koosolek algab kell kümme ja lõpeb enne lõunat."),
    NoSentiment(
        "foreign/bulgarian",
        "Влакът за Варна тръгва в осем часа.",
    ),
    NoSentiment(
        "foreign/hebrew",
        "הרכבת לחיפה יוצאת בשמונה.",
    ),
    NoSentiment("foreign/chinese", "会议改到星期三下午两点。"),
)

NO_SENTIMENT: tuple[NoSentiment, ...] = (*QUESTIONS, *STATEMENTS, *NO_LANGUAGE, *FOREIGN)
