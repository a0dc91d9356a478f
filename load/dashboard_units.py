"""Numbers as Grafana writes them, for the units that the dashboards use."""

import math
from collections.abc import Callable

DECIMAL = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
TIMES = ((60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """Such as "98.4 %" or "2.1 ms". Raises KeyError for a unit that no dashboard of ours uses."""
    if math.isnan(value):
        return "no data"
    return UNITS[unit](value, decimals)


def _digits(value: float, decimals: int | None) -> str:
    """With three significant digits, unless a number of decimals is asked for."""
    if decimals is None:
        decimals = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{min(decimals, 6)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{decimals}f}"


def _number(suffix: str) -> Callable[[float, int | None], str]:
    def write(value: float, decimals: int | None) -> str:
        for size, letter in DECIMAL:
            if abs(value) >= size:
                return f"{_digits(value / size, None)} {letter}{suffix.strip()}"
        return f"{_digits(value, decimals)}{suffix}"

    return write


def _bytes(value: float, decimals: int | None) -> str:
    for size, name in BINARY:
        if abs(value) >= size:
            return f"{_digits(value / size, None)} {name}"
    return f"{_digits(value, decimals)} B"


def _seconds(value: float, _: int | None) -> str:
    for size, name in TIMES:
        if abs(value) >= size:
            return f"{_digits(value / size, None)} {name}"
    return "0 s" if value == 0 else f"{_digits(value / TIMES[-1][0], None)} µs"


UNITS: dict[str, Callable[[float, int | None], str]] = {
    "none": _digits,
    "short": _number(""),
    "percentunit": lambda value, decimals: f"{_digits(value * 100, decimals)} %",
    "s": _seconds,
    "ms": lambda value, decimals: _seconds(value / 1000, decimals),
    "bytes": _bytes,
    "Bps": _number(" B/s"),
    "reqps": _number(" req/s"),
    "cps": _number("/s"),
    "ops": _number(" ops/s"),
}
