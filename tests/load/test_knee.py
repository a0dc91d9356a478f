"""The knee: the last step that brought more."""

import pytest

from load.locust.knee import Step, knee_of, stalled


def steps(*rates: float, failures: float = 0.0) -> list[Step]:
    """Steps that brought these answers a second; the last one with this share of failures."""
    last = len(rates) - 1
    return [Step(10 * 2**index, rate, failures if index == last else 0.0, 5.0) for index, rate in enumerate(rates)]


@pytest.mark.parametrize(
    ("rates", "knee"),
    [((10, 20, 40), 2), ((10, 20, 21), 1), ((10, 20, 21, 22), 1), ((10, 10, 20), 0), ((10,), 0)],
)
def test_knee_is_the_last_step_that_brought_a_tenth_more(rates: tuple[float, ...], knee: int) -> None:
    """Growth below a tenth is no growth, and nothing behind the first such step counts."""
    assert knee_of(steps(*rates)) == knee


def test_answers_that_fail_do_not_count() -> None:
    """A step with many failures lies beyond the knee, however fast they come."""
    assert knee_of(steps(10, 20, 40, failures=0.02)) == 1


@pytest.mark.parametrize(("rates", "expected"), [((10, 20, 21), False), ((10, 20, 21, 22), True), ((10, 10), False)])
def test_run_ends_after_two_steps_without_growth(rates: tuple[float, ...], expected: bool) -> None:
    """One step without growth may be chance."""
    assert stalled(steps(*rates)) is expected
