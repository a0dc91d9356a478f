"""Texts of several domains, as many different ones as a test wants: made by seeded grammars, from nobody's data."""

import random
from collections.abc import Callable

from load.texts import make_texts

GERMAN = (
    ("Der Kundendienst", "Die Lieferung", "Das neue Telefon", "Unser Zimmer", "Die zweite Staffel", "Mein Paket"),
    (
        "kam gestern viel zu spät an",
        "war leider völlig enttäuschend",
        "hat uns sehr gut gefallen",
        "funktioniert nicht",
    ),
    ("und niemand hat sich gemeldet", "obwohl alles bezahlt war", "sodass wir gern wiederkommen", "was schade ist"),
)
ETHIOPIC = [chr(point) for point in range(0x1200, 0x1240)]
REPLIES = (
    ("omg", "lol", "nah", "yes", "so", "this", "ugh", "wow", "fr", "ok"),
    ("love it", "no way", "i cant", "same", "stop", "iconic", "mood", "not again", "king", "pls"),
    ("\N{FACE WITH TEARS OF JOY}", "\N{FIRE}", "\N{SKULL}", "\N{LOUDLY CRYING FACE}", "\N{EYES}", "\N{SPARKLES}"),
)


def reviews(count: int, seed: int) -> list[str]:
    """Short reviews of goods and services, as the load tests send them."""
    found: dict[str, None] = {}
    while len(found) < count:
        texts = make_texts(seed)
        found |= dict.fromkeys(texts["warm"] + texts["cold"])
        seed += 1_000
    return list(found)[:count]


def log_lines(count: int, seed: int) -> list[str]:
    """What a program tells its operator."""

    def line(source: random.Random) -> str:
        time = f"2026-11-{source.randint(1, 30):02}T{source.randint(0, 23):02}:{source.randint(0, 59):02}Z"
        level = source.choice(("INFO", "WARN", "ERROR", "DEBUG"))
        request = f"request_id={source.getrandbits(64):016x} took {source.randint(1, 9000)} ms"
        return f"{time} {level} worker[{source.randint(1, 99)}]: {request}"

    return _different(count, seed, line)


def german(count: int, seed: int) -> list[str]:
    """Complaints and praise in a language that the model does not know."""
    return _different(
        count, seed, lambda source: f"{', '.join(map(source.choice, GERMAN))} ({source.randint(1, 999)} Euro)."
    )


def replies(count: int, seed: int) -> list[str]:
    """What people write under pictures: few words, many emoji."""
    return _different(count, seed, lambda source: " ".join(source.choice(part) for part in (*REPLIES, REPLIES[2])))


def amharic(count: int, seed: int) -> list[str]:
    """Words in a script that the vocabulary lacks."""

    def line(source: random.Random) -> str:
        return " ".join("".join(source.choices(ETHIOPIC, k=source.randint(2, 6))) for _ in range(source.randint(3, 15)))

    return _different(count, seed, line)


def essays(count: int, seed: int) -> list[str]:
    """Reviews, three at a time: long texts of a domain that is otherwise the same."""
    parts = reviews(500, seed)
    return _different(count, seed, lambda source: " ".join(source.sample(parts, 3)))


def _different(count: int, seed: int, make: Callable[[random.Random], str]) -> list[str]:
    source = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[make(source)] = None
    return list(found)
