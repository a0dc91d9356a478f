"""Keys for tests, and the lines that the service reads."""

from app.keys.file import digest_of


def line(name: str, key: str, *limits: str) -> str:
    """The line of one key."""
    return " ".join([name, f"sha256:{digest_of(key.encode()).hex()}", *limits]) + "\n"
