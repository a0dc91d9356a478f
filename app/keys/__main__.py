"""Makes a key: `python -m app.keys shop texts_per_second=50 >> keys`.

The line for the file goes to standard output. The key itself, which nothing else will ever show again, goes to standard
error, to be handed to the caller.
"""

import secrets
import sys

from app.keys.file import digest_of, parse_line

PREFIX = "valence_"
"""By it, scanners for secrets know one in a repository."""


def main(arguments: list[str]) -> None:
    """Print a new key and its line."""
    key = PREFIX + secrets.token_urlsafe(32)
    name, *limits = arguments or [""]
    line = " ".join([name, f"sha256:{digest_of(key.encode()).hex()}", *limits])
    try:
        parse_line(line)
    except ValueError as exc:
        sys.exit(f"error: {exc}\nusage: python -m app.keys NAME [texts_per_second=N [burst=N]] [texts_per_day=N]")
    sys.stderr.write(f"{key}\n")
    sys.stderr.flush()
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
