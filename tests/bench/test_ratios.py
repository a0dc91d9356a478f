"""What the benchmark makes of its rounds."""

import pytest

from bench.ratios import RATIOS, Ratio, as_json, met, paired, ratio_lines, spread

RATIO = Ratio("a over b", "hits", ("a", "rate"), ("b", "rate"), ">=", 0.7)
RESULTS = {
    "hits": {
        "a": [{"rate": 8.0}, {"rate": 6.0}, {"rate": 70.0}],
        "b": [{"rate": 10.0}, {"rate": 10.0}, {"rate": 100.0}],
    }
}


def test_ratios_are_paired_by_round() -> None:
    """A round in which the machine was ten times as fast counts like any other."""
    assert paired(RATIO, RESULTS) == pytest.approx([0.8, 0.6, 0.7])


def test_share_saved_is_the_rest_of_the_ratio() -> None:
    """What a part costs is what is saved without it."""
    ratio = Ratio("log", "hits", ("a", "rate"), ("b", "rate"), "<=", 0.15, share_saved=True)
    assert paired(ratio, RESULTS) == pytest.approx([0.2, 0.4, 0.3])


def test_side_that_was_not_measured_gives_no_ratio() -> None:
    """Neither a made-up number nor a crash."""
    assert paired(Ratio("x", "mix", ("a", "rate"), ("b", "rate")), RESULTS) is None
    assert paired(Ratio("x", "hits", ("a", "rate"), ("c", "rate")), RESULTS) is None


def test_best_rival_of_each_round_counts() -> None:
    """Whichever it is in that round, and whether or not all of them were measured."""
    ratio = Ratio("x", "hits", ("a", "rate"), ("b", "rate"), rivals=("c", "d"))
    sides = {
        "a": [{"rate": 8.0}, {"rate": 6.0}],
        "b": [{"rate": 2.0}, {"rate": 3.0}],
        "c": [{"rate": 4.0}, {"rate": 1.0}],
    }
    assert paired(ratio, {"hits": sides}) == pytest.approx([2.0, 2.0])
    del sides["b"]
    assert paired(ratio, {"hits": sides}) == pytest.approx([2.0, 6.0])


def test_spread_is_median_and_quartiles() -> None:
    """An outlier moves neither."""
    found = spread([3.0, 1.0, 2.0, 4.0, 1000.0])
    assert (found.low, found.median, found.high) == (2.0, 3.0, 4.0)


def test_one_round_is_its_own_quartiles() -> None:
    """A trial with one round still prints."""
    found = spread([3.0])
    assert (found.low, found.median, found.high) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(("bound", "value", "expected"), [(">=", 0.7, True), (">=", 0.69, False), ("<=", 0.8, False)])
def test_target_is_met_on_its_side(bound: str, value: float, expected: bool) -> None:
    """The bound itself is met."""
    assert met(Ratio("x", "hits", ("a", "rate"), ("b", "rate"), bound, 0.7), value) is expected  # type: ignore[arg-type]


def test_ratio_without_target_is_neither_met_nor_missed() -> None:
    """Some ratios only inform."""
    assert met(Ratio("x", "hits", ("a", "rate"), ("b", "rate")), 0.7) is None


def test_table_shows_measured_ratios_only() -> None:
    """Others are missing, and in the JSON they have no median."""
    results = {
        "hits": {name: [{"requests_per_second": 10.0, "cpu_us_per_request": 5.0}] for name in ("service", "empty app")}
    }
    lines = ratio_lines(results)
    assert len(lines) == 1 + 2
    assert "1.000" in lines[1]
    assert "met" in lines[1]
    assert sum("median" in row for row in as_json(results)) == 2
    assert len(as_json(results)) == len(RATIOS)
