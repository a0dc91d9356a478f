"""The in-process tier: what it keeps, and what it lets go."""

import gc
import tracemalloc

import pytest

from app.cache import (
    ENTRY_OVERHEAD_BYTES,
    SWEEP_ENTRIES,
    SWEEP_SECONDS,
    Keys,
    MemoryCache,
    jittered,
    pack,
    unpack,
)
from app.metrics import CACHE_EXPIRED
from app.model import Answer

ANSWER = Answer(b'[{"label":"POSITIVE","score":0.9}]', 1, 0.9, 7, unknown_tokens=2, truncated=False)
OTHER = Answer(b'[{"label":"NEGATIVE","score":0.8}]', 0, 0.8, 512, unknown_tokens=0, truncated=True)


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
    known.put([(b"a", ANSWER), (b"b", OTHER)])
    assert known.get(b"a") == ANSWER
    assert known.get(b"b") == OTHER
    assert known.get(b"c") is None


def test_entries_expire() -> None:
    """Within nine tenths of the TTL an entry is there, after the TTL it is not, and its memory is given back."""
    clock = Clock()
    known = cache(clock)
    known.put([(b"a", ANSWER)])
    clock.now = 8.9
    assert known.get(b"a") == ANSWER
    clock.now = 10.1
    assert known.get(b"a") is None
    assert (len(known), known.size_bytes) == (0, 0)


def test_expired_entries_leave_unasked() -> None:
    """What nobody asks for again does not wait for the bounds: the memory of a quiet service falls with its traffic."""
    clock = Clock()
    known = cache(clock, max_entries=10_000)
    known.put((b"%d" % number, ANSWER) for number in range(SWEEP_ENTRIES + 5))
    clock.now, removed = 8.0, CACHE_EXPIRED.count
    known.put([(b"young", ANSWER)])
    assert len(known) == SWEEP_ENTRIES + 6
    clock.now = 10.1
    known.put([(b"a", ANSWER)])
    assert len(known) == 7  # no more than so many at once
    known.put([(b"b", ANSWER)])
    assert len(known) == 8  # and not with every text
    clock.now += SWEEP_SECONDS
    known.put([(b"c", ANSWER)])
    assert len(known) == 4
    assert known.get(b"young") == ANSWER
    assert CACHE_EXPIRED.count - removed == SWEEP_ENTRIES + 5
    assert known.size_bytes == (len("young") + 3) + 4 * (len(ANSWER.fragment) + ENTRY_OVERHEAD_BYTES)


def test_least_recently_used_entry_leaves_first() -> None:
    """A look-up renews an entry's place."""
    known = cache(max_entries=2)
    known.put([(b"a", ANSWER), (b"b", ANSWER)])
    known.get(b"a")
    known.put([(b"c", ANSWER)])
    assert known.get(b"b") is None
    assert known.get(b"a") == ANSWER


def measured(number: int) -> Answer:
    """An answer that shares no object with another one."""
    fragment = b"%s %d" % (ANSWER.fragment, number)
    return Answer(fragment, 1, number / 7, 1_000 + number, 2_000 + number, truncated=False)


def test_entries_are_nothing_to_the_garbage_collector() -> None:
    """A full cache would make each of its full rounds take tens of milliseconds, in which nobody is answered."""
    known = cache(max_entries=2_000)
    gc.collect()
    before = len(gc.get_objects())
    known.put((b"%d" % number, measured(number)) for number in range(2_000))
    gc.collect()  # inner tuples are left out by the first round that finds them, outer ones by the next
    gc.collect()
    assert len(known) == 2_000
    assert len(gc.get_objects()) - before < 100


def test_bytes_are_bounded() -> None:
    """Whatever is put in, the estimate stays below the bound and equals the sum of what is there."""
    size = 1 + len(ANSWER.fragment) + ENTRY_OVERHEAD_BYTES
    known = cache(max_bytes=3 * size)
    for number in range(10):
        known.put([(b"%d" % number, ANSWER)])
    assert (len(known), known.size_bytes) == (3, 3 * size)
    known.put([(b"9", ANSWER)])
    assert (len(known), known.size_bytes) == (3, 3 * size)


def test_no_entries_means_off() -> None:
    """With a bound of zero nothing is kept and nothing fails."""
    known = cache(max_entries=0)
    known.put([(b"a", ANSWER)])
    assert known.get(b"a") is None


def test_estimate_is_not_below_the_truth() -> None:
    """Ten thousand entries take no more memory than the cache believes."""
    known, key = cache(max_entries=20_000, max_bytes=1 << 40), Keys("0" * 64)
    tracemalloc.start()
    known.put((key(f"text {number}"), measured(number)) for number in range(10_000))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.5 * known.size_bytes < used < known.size_bytes


def test_keys_depend_on_model_engine_and_text_alone() -> None:
    """Same model, engine and text: same key, of fixed length, in which the text cannot be read."""
    key = Keys("a" * 64)
    assert key("good") == Keys("a" * 64)("good")
    assert key("good") != key("good ")
    assert key("good") != Keys("b" * 64)("good")
    assert Keys("a" * 64, "native")("good") != Keys("a" * 64, "onnxruntime")("good")
    assert len(key("good" * 10_000)) == len(key("good"))
    assert b"good" not in key("good")


@pytest.mark.parametrize("answer", [ANSWER, OTHER])
def test_stored_answer_comes_back(answer: Answer) -> None:
    """Packing loses nothing."""
    assert unpack(pack(answer)) == answer


@pytest.mark.parametrize("stored", [b"", b"0", b"x[{}]", b"0{}", b"0[{", b"\x00\xff", b"[{}]"])
def test_foreign_value_is_a_miss(stored: bytes) -> None:
    """What we did not write is never served."""
    assert unpack(stored) is None


def test_expiry_is_spread() -> None:
    """A hundred entries of one moment expire at a hundred moments, none later than the TTL."""
    times = {jittered(100) for _ in range(100)}
    assert len(times) > 90
    assert 90 <= min(times) <= max(times) <= 100
