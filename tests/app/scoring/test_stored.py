"""What Redis holds is believed only when nobody else can have written it."""

import math

import pytest

from app.scoring.memory import Answer
from app.scoring.stored import CHECKSUM_BYTES, StoredAnswers

KEY = b"valence:key"
ANSWER = Answer((1, 0, 2), (0.7, 0.2, 0.1), b"0123456789ab", 12, 1, truncated=True)
STORED = StoredAnswers(b"secret", labels=3)


def test_answer_comes_back_as_it_went() -> None:
    """Every field of it."""
    assert STORED.unpack(KEY, STORED.pack(KEY, ANSWER)) == ANSWER


def test_every_changed_bit_is_noticed() -> None:
    """Of the checksum as of the value, and every byte more or less."""
    packed = STORED.pack(KEY, ANSWER)
    for index in range(len(packed)):
        changed = packed[:index] + bytes([packed[index] ^ 1]) + packed[index + 1 :]
        assert STORED.unpack(KEY, changed) is None
    for length in range(len(packed)):
        assert STORED.unpack(KEY, packed[:length]) is None
    assert STORED.unpack(KEY, packed + b"x") is None


def test_answer_to_another_key_or_by_another_secret_is_not_believed() -> None:
    """A proxy may mix replies up; another deployment may share the Redis."""
    packed = STORED.pack(KEY, ANSWER)
    assert STORED.unpack(b"valence:other", packed) is None
    assert StoredAnswers(b"another", labels=3).unpack(KEY, packed) is None
    assert StoredAnswers(b"secret", labels=2).unpack(KEY, packed) is None


@pytest.mark.parametrize(
    "forged",
    [
        ANSWER._replace(scores=(math.nan, 0.2, 0.1)),
        ANSWER._replace(scores=(math.inf, 0.2, 0.1)),
        ANSWER._replace(scores=(1.5, 0.2, 0.1)),
        ANSWER._replace(labels=(1, 1, 2)),
        ANSWER._replace(labels=(1, 0, 9)),
    ],
)
def test_impossible_answer_is_not_believed_even_with_the_secret(forged: Answer) -> None:
    """A secret that is derived from the model can be derived by others."""
    packed = STORED.pack(KEY, forged)
    assert len(packed) > CHECKSUM_BYTES
    assert STORED.unpack(KEY, packed) is None
