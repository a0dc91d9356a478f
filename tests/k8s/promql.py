"""What a PromQL expression asks for, as far as tests need it: names, labels, and what it is summed by."""

import re
from typing import NamedTuple

STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"(?<![\w:.])(?:([a-zA-Z_:][\w:]*)?\s*\{([^}]*)\}|([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:]))")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


class Selector(NamedTuple):
    """One series that an expression asks for, and the values that it asks its labels for."""

    name: str
    labels: dict[str, str]


def selectors(expression: str) -> list[Selector]:
    """Every selector of an expression, in order, nameless ones with the name ""; functions and operators are none."""
    without = re.sub(r"\[[^\]]*\]", "", GROUPING.sub("", expression))
    return [
        Selector(with_labels or bare, dict(MATCHER.findall(labels)))
        for with_labels, labels, bare in SELECTOR.findall(without)
        if (with_labels or bare).lower() not in WORDS
    ]


def groupings(expression: str) -> list[tuple[str, set[str]]]:
    """(by, on ..., its labels), in order."""
    plain = STRING.sub('""', expression)
    return [(word, set(re.findall(r"\w+", labels))) for word, labels in GROUPING.findall(plain)]
