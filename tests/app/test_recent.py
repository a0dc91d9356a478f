"""Replies to requests that repeat within a second."""

from app.recent import KEEP_SECONDS, MAX_BYTES, MAX_ENTRIES, RecentReplies
from app.replies import Reply

REPLY = Reply(200, [], b'{"predictions":[]}')


def test_repeated_body_gets_the_same_reply() -> None:
    """The very object."""
    recent = RecentReplies()
    recent.put(b"body", REPLY)
    assert recent.get(b"body") is REPLY
    assert recent.get(b"other") is None


def test_reply_is_forgotten_after_a_second() -> None:
    """So that the cache behind it decides how long a text is known."""
    now = 0.0
    recent = RecentReplies(clock=lambda: now)
    recent.put(b"body", REPLY)
    now = KEEP_SECONDS + 0.01
    assert recent.get(b"body") is None


def test_memory_is_bounded() -> None:
    """Large requests are not kept, and a flood of small ones starts afresh."""
    recent = RecentReplies()
    recent.put(b"x" * MAX_BYTES, REPLY)
    assert recent.get(b"x" * MAX_BYTES) is None
    for number in range(MAX_ENTRIES + 1):
        recent.put(b"%d" % number, REPLY)
    assert recent.get(b"0") is None
    assert recent.get(b"%d" % MAX_ENTRIES) is REPLY
