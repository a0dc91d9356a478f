"""The limit of open files: each user of a load test holds a connection."""

import resource

SPARE = 100
"""For the program itself."""


class FileLimitError(Exception):
    """So many users cannot be had here; says what to do."""


def allow_users(users: int) -> None:
    """Raise this process's limit, which children inherit, as far as so many users need. Raises FileLimitError."""
    needed = users + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise FileLimitError(f"{users} users need {needed} open files, the limit is {hard}: ulimit -n {needed}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
