"""The in-process tier: what it keeps, and what it lets go."""

import gc
import tracemalloc

from app.scoring.memory import (
    ENTRY_BYTES,
    LABEL_BYTES,
    SWEEP_ENTRIES,
    SWEEP_SECONDS,
    Answer,
    MemoryCache,
    jittered,
)
from tests.app.redis_tiers import metric

ANSWER = Answer((1, 0), (0.9, 0.1), bytes(8), 7, unknown_tokens=2, truncated=False)
OTHER = Answer((0, 1), (0.8, 0.2), bytes(8), 512, unknown_tokens=0, truncated=True)
SIZE = ENTRY_BYTES + 2 * LABEL_BYTES
"""Of such an entry, without its key."""


class Clock:
    """Seconds that pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def cache(clock: Clock | None = None, *, max_entries: int = 100, max_bytes: int = 1_000_000) -> MemoryCache:
    """A cache of 100 entries for 10 seconds."""
    return MemoryCache(max_entries=max_entries, max_bytes=max_bytes, ttl_seconds=10, clock=clock or Clock())


def test_kept_answer_is_found_again() -> None:
    """The same key gives the same answer; another key none."""
    known = cache()
    known.put(b"a", ANSWER)
    known.put(b"b", OTHER)
    assert known.get(b"a") == ANSWER
    assert known.get(b"b") == OTHER
    assert known.get(b"c") is None


def test_entries_expire() -> None:
    """Within nine tenths of the TTL an entry is there, after the TTL it is not, and its memory is given back."""
    clock = Clock()
    known = cache(clock)
    known.put(b"a", ANSWER)
    clock.now = 8.9
    assert known.get(b"a") == ANSWER
    clock.now = 10.1
    assert known.get(b"a") is None
    assert (len(known), known.size_bytes) == (0, 0)


def test_expired_entries_leave_unasked() -> None:
    """What nobody asks for again does not wait for the bounds: the memory of a quiet service falls with its traffic."""
    clock = Clock()
    known = cache(clock, max_entries=10_000)
    for number in range(SWEEP_ENTRIES + 5):
        known.put(b"%d" % number, ANSWER)
    clock.now, removed = 8.0, metric("valence_cache_removed_total", reason="expired")
    known.put(b"young", ANSWER)
    assert len(known) == SWEEP_ENTRIES + 6
    clock.now = 10.1
    known.put(b"a", ANSWER)
    assert len(known) == 7  # no more than so many at once
    known.put(b"b", ANSWER)
    assert len(known) == 8  # and not with every text
    clock.now += SWEEP_SECONDS
    known.put(b"c", ANSWER)
    assert len(known) == 4
    assert known.get(b"young") == ANSWER
    assert metric("valence_cache_removed_total", reason="expired") - removed == SWEEP_ENTRIES + 5
    assert known.size_bytes == (len("young") + 3) + 4 * SIZE


def test_least_recently_used_entry_leaves_first() -> None:
    """A look-up renews an entry's place."""
    known = cache(max_entries=2)
    known.put(b"a", ANSWER)
    known.put(b"b", ANSWER)
    known.get(b"a")
    known.put(b"c", ANSWER)
    assert known.get(b"b") is None
    assert known.get(b"a") == ANSWER


def measured(number: int) -> Answer:
    """An answer that shares no object with another one."""
    score = number / 20_000
    return Answer((1, 0), (1 - score, score), b"%08d" % number, 1_000 + number, 2_000 + number, truncated=False)


def test_entries_are_nothing_to_the_garbage_collector() -> None:
    """A full cache would make each of its full rounds take tens of milliseconds, in which nobody is answered."""
    known = cache(max_entries=2_000, max_bytes=10_000_000)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(2_000):
        known.put(b"%d" % number, measured(number))
    for _ in range(3):  # inner tuples are left out by the first round that finds them, outer ones by the next
        gc.collect()
    assert len(known) == 2_000
    assert len(gc.get_objects()) - before < 200  # and not 2,000


def test_bytes_are_bounded() -> None:
    """Whatever is put in, the estimate stays below the bound and equals the sum of what is there."""
    size = 1 + SIZE
    known = cache(max_bytes=3 * size)
    for number in range(10):
        known.put(b"%d" % number, ANSWER)
    assert (len(known), known.size_bytes) == (3, 3 * size)
    known.put(b"9", ANSWER)
    assert (len(known), known.size_bytes) == (3, 3 * size)


def test_no_entries_means_off() -> None:
    """With a bound of zero nothing is kept and nothing fails."""
    known = cache(max_entries=0)
    known.put(b"a", ANSWER)
    assert known.get(b"a") is None


def test_estimate_is_not_below_the_truth() -> None:
    """Ten thousand entries take no more memory than the cache believes."""
    known = cache(max_entries=20_000, max_bytes=1 << 40)
    tracemalloc.start()
    for number in range(10_000):
        known.put(b"valence:0123456789abcdef:onnxruntime:%016d" % number, measured(number))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.5 * known.size_bytes < used < known.size_bytes


def test_expiry_is_spread() -> None:
    """A hundred entries of one moment expire at a hundred moments, none later than the TTL."""
    times = {jittered(100) for _ in range(100)}
    assert len(times) > 90
    assert 90 <= min(times) <= max(times) <= 100
