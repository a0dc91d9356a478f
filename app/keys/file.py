"""The file of API keys: who may call, and how much.

    # name  digest of the key  what the caller may ask for
    shop    sha256:9f86d081...  texts_per_second=50 burst=100 texts_per_day=1000000
    intern  sha256:60303ae2...

The file holds no key, only SHA-256 of each: `python -m app.keys` makes keys of 256 random bits, which no table and no
search finds, so that neither salt nor a slow hash would add anything. Lines with the same name are one caller: a key is
replaced by adding the new one's line, and taking the old one's away when nobody sends it any more.
"""

import re
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path

from app.settings import PREFIX, SettingsError

MAX_FILE_BYTES = 1_048_576
MAX_KEYS = 1_000
"""Each caller has series of its own in the metrics, and a counter in Redis that is read once a second."""
MAX_LIMIT = 1_000_000_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Limits:
    """What a caller may ask for, in texts; None: whatever there is room for."""

    texts_per_second: int | None = None
    burst: int | None = None
    """Texts at once, after a pause. The texts of one second unless told otherwise."""
    texts_per_day: int | None = None
    """From midnight to midnight, UTC."""


@dataclass(frozen=True)
class Key:
    """One line."""

    name: str
    digest: bytes
    limits: Limits


def digest_of(key: bytes) -> bytes:
    """What the file holds instead of the key: 32 bytes."""
    return sha256(key).digest()


def read_keys(path: Path) -> list[Key]:
    """Every line. Raises SettingsError with file, line and what is wrong, and without what might be a key."""
    try:
        with path.open("rb") as file:
            return _parse(file.read(MAX_FILE_BYTES + 1))
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise SettingsError(f"{PREFIX}API_KEYS_FILE={str(path)!r}: {reason}") from exc


def parse_line(line: str) -> Key:
    """One line of the file. Raises ValueError."""
    words = line.split()
    name, digest, options = words[0] if words else "", "".join(words[1:2]), words[2:]
    if not NAME.fullmatch(name):
        raise ValueError("the name should be 1 to 63 letters, digits, dots, dashes and underscores")
    hexadecimal = DIGEST.fullmatch(digest)
    if hexadecimal is None:
        raise ValueError("behind the name should stand sha256: and 64 hexadecimal digits (python -m app.keys NAME)")
    limits: dict[str, int] = {}
    known = [field.name for field in fields(Limits)]
    for option in options:
        key, _, value = option.partition("=")
        if key not in known or key in limits:
            raise ValueError(f"behind the digest may stand {', '.join(known)}, each once, with = and a number")
        if not re.fullmatch("[0-9]{1,10}", value) or not 1 <= int(value) <= MAX_LIMIT:
            raise ValueError(f"{key}={value!r}: should be a whole number from 1 to {MAX_LIMIT}")
        limits[key] = int(value)
    if "burst" in limits and "texts_per_second" not in limits:
        raise ValueError("burst says nothing without texts_per_second")
    return Key(name, bytes.fromhex(hexadecimal[1]), Limits(**limits))


def _parse(text: bytes) -> list[Key]:
    if len(text) > MAX_FILE_BYTES:
        raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
    keys = []
    for number, line in enumerate(text.decode(errors="replace").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                keys.append(parse_line(line))
            except ValueError as exc:
                raise ValueError(f"line {number}: {exc}") from exc
    _check(keys)
    return keys


def _check(keys: list[Key]) -> None:
    if len(keys) > MAX_KEYS:
        raise ValueError(f"{len(keys)} keys are more than {MAX_KEYS}")
    if len({key.digest for key in keys}) < len(keys):
        raise ValueError("a digest stands there twice")
    limits: dict[str, Limits] = {}
    for key in keys:
        if limits.setdefault(key.name, key.limits) != key.limits:
            raise ValueError(f"{key.name} has other limits in one line than in another")
