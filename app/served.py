"""What was answered: labels, scores, lengths. A text counts each time it is answered, from the cache or not.

On the path of a cache hit each text costs one addition to a dict; what the additions mean is worked out once a second,
once for each different answer.
"""

from collections import defaultdict
from collections.abc import Sequence

from app.metrics import CACHE_MEMORY, TEXT_TOKENS, TEXTS, TOP_SCORE, TRUNCATED, UNKNOWN_TOKENS
from app.model import Answer

MAX_DIFFERENT = 10_000
"""Different answers that may wait to be worked out; a request of many texts adds many."""


class ServedTexts:
    """Counts answers. Lives on the event loop."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = [TEXTS.labels(label) for label in labels]
        self._times: defaultdict[Answer, int] = defaultdict(int)

    def add(self, answers: Sequence[Answer]) -> None:
        """Note that these were answered."""
        for answer in answers:
            self._times[answer] += 1
        if len(self._times) > MAX_DIFFERENT:
            self.record()

    def add_repeated(self, answers: Sequence[Answer]) -> None:
        """The same, for answers that came from the in-process cache a moment ago and come again."""
        CACHE_MEMORY.count += len(answers)
        self.add(answers)

    def record(self) -> None:
        """Work out what has been noted."""
        for (_, label, score, tokens, unknown_tokens, truncated), times in self._times.items():
            if label < len(self._labels):  # it may be what somebody else has written into Redis
                self._labels[label].inc(times)
            TOP_SCORE.observe_times(score, times)
            TEXT_TOKENS.observe_times(tokens, times)
            UNKNOWN_TOKENS.count += unknown_tokens * times
            TRUNCATED.count += truncated * times
        self._times.clear()
