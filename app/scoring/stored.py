"""Answers as Redis keeps them: numbers alone, behind a checksum that nobody can make without the secret.

Whoever can write to Redis could otherwise choose our scores, and a proxy that mixes up replies would give one text the
scores of another: the checksum (keyed BLAKE2b, https://www.rfc-editor.org/rfc/rfc7693) is of key and value together.
"""

import math
import struct
from hashlib import blake2b
from hmac import compare_digest

from app.scoring.memory import Answer

CHECKSUM_BYTES = 16
STORED_FORMAT = 2
"""A part of every key: versions of the service that store answers otherwise share none."""
HEADER = struct.Struct("<?HII")
"""How an answer begins behind its checksum: truncated, number of labels, tokens, unknown tokens. Labels, scores
and logits follow."""


class StoredAnswers:
    """Packs and unpacks answers of a model with so many `labels`; `secret` has at most 64 bytes.

    Scores are between 0 and 1, but for the one of a regression, which is any finite number.
    """

    def __init__(self, secret: bytes, labels: int) -> None:
        self._secret = secret
        self._labels = list(range(labels))
        self._is_possible = math.isfinite if labels == 1 else _is_share
        self._numbers = struct.Struct(f"<{labels}H{labels}d")
        self._size = HEADER.size + self._numbers.size + struct.calcsize(f"<{labels}f")

    def pack(self, key: bytes, answer: Answer) -> bytes:
        """Answer -> stored bytes."""
        header = HEADER.pack(answer.truncated, len(answer.labels), answer.tokens, answer.unknown_tokens)
        value = header + self._numbers.pack(*answer.labels, *answer.scores) + answer.logits
        return self._checksum(key, value) + value

    def unpack(self, key: bytes, stored: bytes) -> Answer | None:
        """Stored bytes -> answer; None when it is not what `pack` made for this key and this model."""
        checksum, value = stored[:CHECKSUM_BYTES], stored[CHECKSUM_BYTES:]
        if len(value) != self._size or not compare_digest(checksum, self._checksum(key, value)):
            return None
        truncated, _, tokens, unknown_tokens = HEADER.unpack_from(value)
        numbers = self._numbers.unpack_from(value, HEADER.size)
        labels, scores = numbers[: len(self._labels)], numbers[len(self._labels) :]
        # Without a secret of its own a deployment uses one that others can derive.
        if sorted(labels) != self._labels or not all(map(self._is_possible, scores)):
            return None
        logits = value[HEADER.size + self._numbers.size :]
        return Answer(labels, scores, logits, tokens, unknown_tokens, truncated)

    def _checksum(self, key: bytes, value: bytes) -> bytes:
        return blake2b(key + value, digest_size=CHECKSUM_BYTES, key=self._secret).digest()


def _is_share(score: float) -> bool:
    return 0 <= score <= 1
