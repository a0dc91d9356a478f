"""The promise of load/slo.json, and where a PromQL expression departs from it: for rules and for dashboards."""

import json
import re
from typing import NamedTuple

from tests.k8s.rendering import K8S

NINES = re.compile(r"\b0?\.9\d*\b")
"""A number such as 0.999 in an expression."""
LATENCY_BUCKET = re.compile(r"http_request_duration_seconds_bucket\{[^}]*\ble=\"([^\"]+)\"")


class Promise(NamedTuple):
    """What slo.json says: shares from 0 to 1, and the latency in seconds."""

    availability: float
    latency_share: float
    latency_seconds: float


def promise() -> Promise:
    """The numbers of load/slo.json."""
    numbers = json.loads((K8S.parent / "load" / "slo.json").read_text(encoding="utf-8"))
    return Promise(numbers["availability"], numbers["latency_share"], numbers["latency_milliseconds"] / 1000)


def departures(expression: str) -> list[str]:
    """What in a PromQL expression contradicts the promise; empty when it speaks of it rightly, or not at all.

    Beside a series named `...errors...` a number of nines is the availability, beside one named `...slow...` the share
    of the requests that are in time. A single bucket of our latency is the one that ends at the promise.
    """
    promised = promise()
    found = [
        f'le="{bound}" is not the {promised.latency_seconds} s of the promise'
        for bound in LATENCY_BUCKET.findall(expression)
        if float(bound) != promised.latency_seconds
    ]
    for series, share in (("valence_slo_errors", promised.availability), ("valence_slo_slow", promised.latency_share)):
        if series in expression:
            nines = {float(number) for number in NINES.findall(expression)}
            found += [f"{number} beside {series} is not {share}" for number in sorted(nines - {share})]
    return found
