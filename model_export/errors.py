"""The one error that a user of the command sees, and the errors of libraries in one line."""

ENCODERS = "export an encoder instead, such as a DistilBERT, BERT, RoBERTa or DeBERTa"
"""What to do about a network that is none."""

_SHOWN_CHARACTERS = 300


class ExportError(Exception):
    """One clear line for the user; the command exits with status 1."""


def one_line(exc: Exception) -> str:
    """What an exception says, without the paragraphs of advice that libraries add; cut between words, visibly."""
    paragraph = str(exc).strip().partition("\n\n")[0]
    words = " ".join(paragraph.split()) or type(exc).__name__
    if len(words) <= _SHOWN_CHARACTERS:
        return words
    return f"{words[:_SHOWN_CHARACTERS].rpartition(' ')[0] or words[:_SHOWN_CHARACTERS]} ..."
