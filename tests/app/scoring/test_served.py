"""app/scoring/served.py: the formula, the window and its bounds, and how often chance alone looks like drift."""

import math
import random
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from app.model.package import Histogram, Profile
from app.scoring.memory import Answer
from app.scoring.served import MIN_TEXTS, DriftWindow, population_stability_index, row_features
from app.telemetry.metrics import DRIFT

COUNTS = st.lists(st.integers(0, 5_000), min_size=2, max_size=20)


class Clock:
    """Time that passes when told to."""

    seconds = 0.0

    def __call__(self) -> float:
        """Seconds since the start of the test."""
        return self.seconds


def profile(**features: tuple[list[float], list[int]]) -> Profile:
    """A profile of these (edges, counts)."""
    histograms = {name: Histogram(edges=edges, counts=counts) for name, (edges, counts) in features.items()}
    texts = sum(next(iter(histograms.values())).counts)
    return Profile.model_validate({"format": 1, "data": "test", "texts": texts, "features": histograms})


EVEN = profile(
    label=([0], [500, 500]),
    score=([0.6, 0.7, 0.8, 0.9], [200] * 5),
    tokens=([5, 10, 15, 20], [200] * 5),
    unknown_tokens=([0.0], [990, 10]),
)
"""Values drawn evenly by `Draw` fit it."""


def answer(*, label: int, score: float, tokens: int, unknown_tokens: int = 0) -> Answer:
    """What the window reads of an answer."""
    return Answer((label,), (score,), bytes(4), tokens, unknown_tokens, truncated=False)


class Draw:
    """Adds texts whose values are drawn evenly, or from one end only."""

    def __init__(self, window: DriftWindow, seed: int = 0) -> None:
        self._window = window
        self._random = random.Random(seed)
        self._keys: Iterator[int] = count()

    def add(self, texts: int, *, lowest_score: float = 0.5, longest: int = 25, unknown_share: float = 0.01) -> None:
        """So many texts never added before."""
        for _ in range(texts):
            tokens = self._random.randint(1, longest)
            self._window.add(
                str(next(self._keys)).encode(),
                answer(
                    label=self._random.randrange(2),
                    score=self._random.uniform(lowest_score, 1),
                    tokens=tokens,
                    unknown_tokens=tokens if self._random.random() < unknown_share else 0,
                ),
                "",
            )


def window(max_texts: int = 2_000, clock: Clock | None = None, of: Profile = EVEN) -> DriftWindow:
    """A window of a minute."""
    return DriftWindow(of, max_texts=max_texts, max_age_seconds=60, clock=clock or Clock())


def test_formula_gives_what_a_pencil_does() -> None:
    """Halves against one quarter and three, of so many texts that smoothing vanishes: 0.25 * ln 3."""
    by_hand = (0.25 - 0.5) * math.log(0.25 / 0.5) + (0.75 - 0.5) * math.log(0.75 / 0.5)
    assert by_hand == pytest.approx(0.2747, abs=1e-4)
    assert population_stability_index([10**7, 10**7], [10**7, 3 * 10**7]) == pytest.approx(by_hand, abs=1e-6)


def test_half_a_text_is_added_to_every_bin() -> None:
    """A bin that one side never met is rare to it, not impossible: 99.5 : 0.5 against 50 : 50 of 100 texts."""
    p, q = (100.5 / 101, 0.5 / 101), (50.5 / 101, 50.5 / 101)
    expected = sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert population_stability_index([100, 0], [50, 50]) == pytest.approx(expected, abs=1e-12)


@given(COUNTS, st.randoms(use_true_random=False))
def test_index_is_symmetric_and_never_negative(expected: list[int], source: random.Random) -> None:
    """Equal counts give 0, and it does not matter which side is which."""
    found = [source.randint(0, 5_000) for _ in expected]
    index = population_stability_index(expected, found)
    assert index >= 0
    assert index == pytest.approx(population_stability_index(found, expected), abs=1e-9)
    assert population_stability_index(expected, expected) == 0


@given(COUNTS, st.integers(2, 50))
def test_index_depends_on_shares_only(counts: list[int], times: int) -> None:
    """The same shares of more texts are no drift, but for the half text in each bin."""
    counts = [1_000 + value for value in counts]
    assert population_stability_index(counts, [value * times for value in counts]) < 1e-4


def test_few_texts_say_nothing() -> None:
    """Below the minimum there is no index, not a wrong one; from there on there is one for each feature."""
    live = window()
    draw = Draw(live)
    draw.add(MIN_TEXTS - 1)
    assert live.psi() == {}
    draw.add(1)
    assert list(live.psi()) == ["label", "score", "tokens", "unknown_tokens"]


def test_feature_without_a_reference_is_left_out() -> None:
    """A byte-level tokenizer has no unknown tokens, so its profile has none either."""
    live = window(of=profile(label=([0], [500, 500])))
    Draw(live).add(MIN_TEXTS)
    assert list(live.psi()) == ["label"]


def test_same_kind_of_texts_stays_low() -> None:
    """2,000 texts as in the profile."""
    live = window()
    Draw(live).add(2_000)
    assert max(live.psi().values()) < 0.1


@pytest.mark.parametrize(
    ("feature", "change"),
    [("score", {"lowest_score": 0.8}), ("tokens", {"longest": 12}), ("unknown_tokens", {"unknown_share": 0.2})],
)
def test_changed_feature_is_told_from_the_others(feature: str, change: dict[str, float]) -> None:
    """Only the index of what has changed rises; when the old kind of text is back, it falls again."""
    live = window(1_000)
    draw = Draw(live)
    draw.add(1_000)
    draw.add(1_000, **change)  # type: ignore[arg-type]
    indices = live.psi()
    assert indices.pop(feature) > 0.25
    assert max(indices.values()) < 0.1
    draw.add(1_000)
    assert max(live.psi().values()) < 0.1


def test_other_labels_are_seen() -> None:
    """Nine of ten negative instead of one of two."""
    live = window()
    for number in range(1_000):
        live.add(b"%d" % number, answer(label=int(number % 10 == 0), score=0.5 + number / 2_000, tokens=9), "")
    assert live.psi()["label"] > 0.25


def test_hot_text_counts_once() -> None:
    """A text asked for a thousand times between others changes nothing: it is one text."""
    quiet, busy = window(), window()
    for live in (quiet, busy):
        live.add(b"hot", answer(label=1, score=0.99, tokens=3), "")
    Draw(quiet).add(600)
    draw = Draw(busy)
    for _ in range(600):
        draw.add(1)
        for _ in range(2):
            busy.add(b"hot", answer(label=1, score=0.99, tokens=3), "")
    assert len(busy) == len(quiet) == 601
    assert busy.psi() == quiet.psi()


def test_foreign_values_do_no_harm() -> None:
    """Whatever stands in a shared Redis is counted somewhere and raises nothing."""
    live = window()
    live.add(b"foreign", answer(label=9, score=math.nan, tokens=0, unknown_tokens=3), "")
    Draw(live).add(MIN_TEXTS)
    assert all(math.isfinite(index) for index in live.psi().values())


def test_window_holds_the_texts_last_asked_for() -> None:
    """Against a plain recount of the last 700 different texts of 5,000, many of which come again."""
    source = random.Random(5)
    live, values, order = window(700), {}, []
    for _ in range(5_000):
        key = source.randrange(1_500)
        values.setdefault(key, (source.randrange(2), source.random(), source.randint(1, 30)))
        label, score, tokens = values[key]
        live.add(b"%d" % key, answer(label=label, score=score, tokens=tokens), "")
        order.append(key)
    last = list(dict.fromkeys(reversed(order)))[:700]
    tokens_found = [0] * 5
    for key in last:
        tokens_found[sum(values[key][2] > edge for edge in (5, 10, 15, 20))] += 1
    assert len(live) == 700
    assert live.psi()["tokens"] == pytest.approx(population_stability_index([200] * 5, tokens_found), abs=1e-12)


def test_old_texts_leave() -> None:
    """After a minute without them they are gone; those asked for in between stay."""
    clock = Clock()
    live = window(clock=clock)
    Draw(live).add(1_000)
    clock.seconds = 59
    for number in range(600):
        live.add(b"%d" % number, answer(label=0, score=0.9, tokens=3), "")
    clock.seconds = 61
    assert live.psi()
    assert len(live) == 600
    clock.seconds = 120
    assert live.psi() == {}
    assert len(live) == 0


def test_gauges_appear_and_end_in_nan() -> None:
    """No gauge before there is an index; afterwards never a stale one: NaN once too few texts are left."""
    clock = Clock()
    live = DriftWindow(EVEN, max_texts=2_000, max_age_seconds=60, clock=clock)

    def shown(name: str, **labels: str) -> float | None:
        live.publish()
        return REGISTRY.get_sample_value(name, labels)

    def add(numbers: range) -> None:
        for number in numbers:
            live.add(b"%d" % number, answer(label=number % 2, score=0.5 + number / 2_000, tokens=3), "")

    DRIFT.clear()  # of other tests in this process
    add(range(MIN_TEXTS - 1))
    assert shown("valence_drift_psi", feature="label") is None
    assert shown("valence_drift_window_texts") == MIN_TEXTS - 1
    add(range(1_000))
    assert shown("valence_drift_psi", feature="label") == pytest.approx(0, abs=1e-9)
    assert shown("valence_drift_window_texts") == 1_000
    clock.seconds = 61
    assert math.isnan(shown("valence_drift_psi", feature="label") or 0)
    assert shown("valence_drift_window_texts") == 0


def test_chance_alone_stays_below_the_threshold() -> None:
    """200 windows of the least size, of texts as in the profile: at most one in a hundred indices passes 0.1."""
    indices = []
    for seed in range(200):
        live = window()
        Draw(live, seed).add(MIN_TEXTS)
        indices += live.psi().values()
    assert sum(index > 0.1 for index in indices) <= len(indices) / 100
    assert max(indices) < 0.25


def test_column_that_moves_is_named() -> None:
    """Rows of which one column grows by half: its index passes 0.25, the other's and the prediction's stay low."""
    fifths = Histogram(edges=[0.2, 0.4, 0.6, 0.8], counts=[200] * 5)
    columns = {"acid": fifths, "salt": fifths, "predicted_value": fifths}
    profile = Profile(format=1, data="test", texts=1_000, features=columns)
    names = ["acid", "salt"]
    live = DriftWindow(profile, features_of=row_features(names), max_texts=2_000, max_age_seconds=60, clock=Clock())
    source = random.Random(1)
    for number in range(2_000):
        acid, salt, value = (source.random() for _ in range(3))
        live.add(b"%d" % number, answer(label=0, score=value, tokens=2), (1.5 * acid, salt))
    indices = live.psi()
    assert list(indices) == ["acid", "salt", "predicted_value"]
    assert indices["acid"] > 0.25
    assert max(indices["salt"], indices["predicted_value"]) < 0.1
