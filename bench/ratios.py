"""What the figures of all rounds come to: paired ratios with their quartiles, against the targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal

Rounds = Sequence[Mapping[str, float]]
Results = Mapping[str, Mapping[str, Rounds]]
"""Scenario -> side -> one mapping of figures for each round."""


@dataclass(frozen=True)
class Ratio:
    """One figure of one side over one figure of another side of the same round, and what it should be."""

    what: str
    scenario: str
    above: tuple[str, str]
    below: tuple[str, str]
    bound: Literal[">=", "<="] | None = None
    target: float = 0.0
    share_saved: bool = False
    """1 - above / below instead of above / below."""
    rivals: tuple[str, ...] = ()
    """Sides beside `below`: the one with the largest figure counts, round by round, and none has to be measured."""


RATE, CPU, P50, P99 = "requests_per_second", "cpu_us_per_request", "p50_ms", "p99_ms"


def _miss_ratios(scenario: str, model: str, target: float) -> tuple[Ratio, ...]:
    """The service against ONNX Runtime alone, with one of the models."""
    many, one, raw = f"misses, 64 clients, {model}", f"misses, 1 client, {model}", "onnxruntime"
    return (
        Ratio(f"{many}: texts/s over ONNX Runtime alone (run)", scenario,
              ("service, 64 clients", RATE), (raw, "run_texts_per_second"), ">=", target),
        Ratio(f"{many}: texts/s over ONNX Runtime alone (tokenise + run)", scenario,
              ("service, 64 clients", RATE), (raw, "tokenise_and_run_texts_per_second")),
        Ratio(f"{one}: median latency over bare tokenise + run", scenario,
              ("service, 1 client", P50), (raw, "tokenise_and_run_p50_ms"), "<=", 1.25),
    )  # fmt: skip


def _rival_ratios(clients: int) -> tuple[Ratio, ...]:
    """The service against the best of Infinity and LitServe, and against those that came behind."""
    best, rivals = (f"Infinity, {clients} clients", RATE), (f"LitServe, {clients} clients",)
    rows = [
        Ratio(f"misses, {clients} clients, full size: texts/s over the best of Infinity and LitServe, {what}", "others",
              (f"service, {what}, {clients} clients", RATE), best, ">=", target, rivals=rivals)
        for what, target in (("same file", 1.5), ("same file, texts alone", 1.5), ("own graph", 2.0))
    ]  # fmt: skip
    rows += [
        Ratio(f"misses, {clients} clients, full size: texts/s over {name}, same file", "others",
              (f"service, same file, {clients} clients", RATE), (f"{name}, {clients} clients", RATE))
        for name in ("Infinity", "LitServe", "BentoML", "MLServer")
    ]  # fmt: skip
    return tuple(rows)


RATIOS = (
    *_miss_ratios("misses", "bundled model", 1.4),
    *_miss_ratios("misses-full", "full size", 1.2),
    *_rival_ratios(10),
    *_rival_ratios(64),
    Ratio("misses, 64 clients: texts/s on two cores over one, client included", "scaling",
          ("2 cores", RATE), ("1 core", RATE), ">=", 1.9),
    Ratio("hits in process, 32 clients: requests/s over the empty app", "hits",
          ("service", RATE), ("empty app", RATE), ">=", 0.50),
    Ratio("hits in process, 32 clients: CPU per request over the empty app", "hits",
          ("service", CPU), ("empty app", CPU)),
    Ratio("hits from Redis, 32 clients: requests/s over the empty app", "redis",
          ("service", RATE), ("empty app", RATE), ">=", 0.30),
    Ratio("hits from Redis, 32 clients: CPU per request over the empty app", "redis",
          ("service", CPU), ("empty app", CPU)),
    Ratio("access log: share of a hit's CPU time (instrumentation not included)", "hits",
          ("service, no access log", CPU), ("service", CPU), "<=", 0.15, share_saved=True),
    Ratio("hits in process, 32 clients: CPU per request with API keys over without", "hits",
          ("service, API keys", CPU), ("service", CPU), "<=", 1.05),
    Ratio("95 % mix, 10 clients: requests/s over the usual way, full-size model for both", "mix",
          ("service, full size", RATE), ("usual way", RATE), ">=", 9),
    Ratio("95 % mix, 10 clients: p99 over the usual way, full-size model for both", "mix",
          ("service, full size", P99), ("usual way", P99), "<=", 1 / 4),
    Ratio("95 % mix, 10 clients: requests/s, bundled model over the usual way's full-size one", "mix",
          ("service", RATE), ("usual way", RATE), ">=", 14),
    Ratio("95 % mix, 10 clients: p99, bundled model over the usual way's full-size one", "mix",
          ("service", P99), ("usual way", P99), "<=", 1 / 15),
)  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over the rounds."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles; one value is its own quartiles."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high)


def paired(ratio: Ratio, results: Results) -> list[float] | None:
    """The ratio in each round; None when one of its sides was not measured."""
    sides = results.get(ratio.scenario, {})
    above = sides.get(ratio.above[0])
    below = [sides[name] for name in (ratio.below[0], *ratio.rivals) if sides.get(name)]
    if not above or not below:
        return None
    best = [max(one[ratio.below[1]] for one in rivals) for rivals in zip(*below, strict=True)]
    values = [one[ratio.above[1]] / other for one, other in zip(above, best, strict=True)]
    return [1 - value for value in values] if ratio.share_saved else values


def met(ratio: Ratio, value: float) -> bool | None:
    """Whether the target is met; None where there is none."""
    if ratio.bound is None:
        return None
    return value >= ratio.target if ratio.bound == ">=" else value <= ratio.target


def as_json(results: Results) -> list[dict[str, object]]:
    """Each ratio with its spread and target, for the JSON file."""
    rows = []
    for ratio in RATIOS:
        values = paired(ratio, results)
        row: dict[str, object] = {"what": ratio.what, "bound": ratio.bound, "target": ratio.target or None}
        if values is not None:
            found = spread(values)
            row |= {"median": found.median, "quartiles": [found.low, found.high], "met": met(ratio, found.median)}
        rows.append(row)
    return rows


def ratio_lines(results: Results) -> list[str]:
    """The table of ratios: median, quartiles, target, verdict."""
    width = max(len(ratio.what) for ratio in RATIOS)
    lines = [f"{'ratio':<{width}}  median   quartiles         target"]
    for ratio in RATIOS:
        values = paired(ratio, results)
        if values is None:
            continue
        found = spread(values)
        verdict = {True: "met", False: "NOT met", None: ""}[met(ratio, found.median)]
        target = f"{ratio.bound} {ratio.target:.3g}" if ratio.bound else "-"
        lines.append(
            f"{ratio.what:<{width}}  {found.median:6.3f}  {found.low:6.3f} .. {found.high:<6.3f}  {target:<8} {verdict}"
        )
    return lines


def figure_lines(results: Results) -> list[str]:
    """The figures behind the ratios: medians over the rounds."""
    columns = (RATE, P50, P99, CPU, "client_busy", "peak_rss_mb", "ready_seconds", "failures")
    lines = [f"{'side (medians)':<44}" + "".join(f"{name:>20}" for name in columns)]
    for scenario, sides in results.items():
        for side, rounds in sides.items():
            served = RATE in rounds[0]
            values = [f"{median([one[name] for one in rounds]):>20.3f}" for name in columns] if served else [
                f"  {name} {median([one[name] for one in rounds]):.2f}" for name in rounds[0]
            ]  # fmt: skip
            lines.append(f"{scenario + ': ' + side:<44}" + "".join(values))
    return lines
