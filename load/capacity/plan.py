"""How many pods, how much Redis and what cost a load takes: `python -m load.capacity --requests 500 --hit-rate 0.95`.

Predicts from unit costs, which `python -m load.capacity.costs` measures and checks; docs/capacity.md holds those of one
machine. All of it is arithmetic: CPU a second = requests x what each does, and a pod takes its share of that.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

MIB = 2**20
TTL_SECONDS = 180
"""VALENCE_CACHE_TTL_SECONDS."""


@dataclass(frozen=True)
class Costs:
    """Unit costs of one machine. The defaults are measured, see docs/capacity.md."""

    request_us: float = 88
    """CPU of a pod for a request whose one text is in the pod's memory."""
    redis_us: float = 68
    """CPU that a look-up in Redis adds in the pod."""
    miss_us: float = 290
    """CPU that a text for the model adds, however short."""
    token_us: float = 28
    """CPU that each of its tokens adds."""
    redis_server_us: float = 4.4
    """CPU of Redis for one look-up or one write, at a full load."""
    redis_bytes: float = 280
    """Memory of Redis for one text."""
    memory_bytes: float = 550
    """Memory of a pod for one text in its cache."""
    pod_mib: float = 160
    """Memory of a pod with an empty cache, at work."""


@dataclass(frozen=True)
class Load:
    """What is asked, and of what. Rates are a second."""

    requests: float
    hit_rate: float
    """Share of the texts that memory or Redis knows, as `namespace:valence_cache_hits:ratio_rate5m` says it."""
    tokens: float
    """Mean length of a text that is not known."""
    repeated_texts: int = 1000
    """Different texts among those that are asked for again and again; they share the hits evenly."""
    hashed: bool = False
    """Whether a text always goes to the same pod (consistent hashing), and not to any."""


@dataclass(frozen=True)
class Pod:
    """One pod as the manifests have it."""

    cores: float = 1.0
    """CPU request: what the autoscaler counts, and what is paid for."""
    limit: float = 1.5
    """CPU limit: more it cannot use, and the autoscaler cannot see."""
    target: float = 0.7
    """Use of the request at which the autoscaler adds pods."""
    memory_mib: float = 256
    least: int = 2
    most_entries: int = 100_000
    """VALENCE_CACHE_MAX_ENTRIES."""


@dataclass(frozen=True)
class Capacity:
    """What the load takes."""

    pods: int
    cpu_cores: float
    """Used by all pods together, on average."""
    redis_lookups: float
    """A second, writes included."""
    redis_cores: float
    redis_mib: float
    pod_mib: float
    from_memory: float
    """Share of the hits that a pod's own memory answers; the others are Redis'."""


def hit_rate(requests: float, repeated_share: float, repeated_texts: int) -> float:
    """The hit rate where that share of the requests repeats one of so many texts: each is computed anew every T."""
    seen = requests * repeated_share / repeated_texts * TTL_SECONDS
    return repeated_share * seen / (1 + seen)


def from_memory(load: Load, pods: int) -> float:
    """Share of the hits that a pod finds in its own memory.

    Each of n texts is asked for at the rate r = requests x hit rate / n, and at one pod at r / pods where any pod may
    get it. An entry lives for T and is then missed once: of the 1 + r T / pods requests of a cycle all but one hit.
    """
    rate = load.requests * load.hit_rate / load.repeated_texts / (1 if load.hashed else pods)
    seen = rate * TTL_SECONDS
    return seen / (1 + seen)


def cpu_cores(load: Load, costs: Costs, pods: int) -> float:
    """CPU seconds a second of all pods; every text that its pod's memory lacks is looked up in Redis first."""
    lookups = load.requests * (1 - load.hit_rate * from_memory(load, pods))
    model = load.requests * (1 - load.hit_rate) * (costs.miss_us + costs.token_us * load.tokens)
    return (load.requests * costs.request_us + lookups * costs.redis_us + model) / 1e6


def capacity(load: Load, costs: Costs, pod: Pod) -> Capacity:
    """The fewest pods that bear the load at the autoscaler's target; more pods find less in their own memory."""
    pods = pod.least
    while cpu_cores(load, costs, pods) > pods * pod.cores * pod.target:
        pods += 1
    known = from_memory(load, pods)
    new = load.requests * (1 - load.hit_rate)
    operations = load.requests * (1 - load.hit_rate * known) + new
    kept = new * TTL_SECONDS  # Little's law: every text that is computed is kept for the time to live
    return Capacity(
        pods=pods,
        cpu_cores=cpu_cores(load, costs, pods),
        redis_lookups=operations,
        redis_cores=operations * costs.redis_server_us / 1e6,
        redis_mib=kept * costs.redis_bytes / MIB,
        pod_mib=costs.pod_mib + min(pod.most_entries, kept / pods) * costs.memory_bytes / MIB,
        from_memory=known,
    )


def price_per_million(needed: Capacity, load: Load, pod: Pod, core_hour: float, gib_hour: float) -> float:
    """Cost of a million predictions: for what the pods ask for, not what they use, and for what Redis uses."""
    cores = needed.pods * pod.cores + max(0.1, math.ceil(needed.redis_cores * 10) / 10)
    gib = (needed.pods * pod.memory_mib + 64 + needed.redis_mib) / 1024
    return (cores * core_hour + gib * gib_hour) / (load.requests * 3600) * 1e6


def read_costs(file: Path | None) -> Costs:
    """Unit costs from the JSON of load.capacity.costs, or the defaults. Raises ValueError for an unknown one."""
    if file is None:
        return Costs()
    found = json.loads(file.read_text(encoding="utf-8"))["costs"]
    if unknown := set(found) - {field.name for field in fields(Costs)}:
        raise ValueError(f"{file}: no such cost: {', '.join(sorted(unknown))}")
    return Costs(**found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what the load takes."""
    options = _parser().parse_args(arguments)
    load = Load(options.requests, options.hit_rate, options.tokens, options.repeated_texts, options.hashed)
    pod, costs = Pod(cores=options.cores, target=options.target), read_costs(options.costs)
    needed = capacity(load, costs, pod)
    price = price_per_million(needed, load, pod, options.core_hour, options.gib_hour)
    if options.json:
        sys.stdout.write(json.dumps({**asdict(needed), "price_per_million": price}) + "\n")
        return 0
    sys.stdout.write(
        f"pods            {needed.pods}, each {pod.cores:g} cores at {pod.target:.0%}\n"
        f"CPU             {needed.cpu_cores:.2f} cores used\n"
        f"pod memory      {needed.pod_mib:.0f} MiB\n"
        f"Redis           {needed.redis_lookups:,.0f} operations/s, {needed.redis_cores:.2f} cores, "
        f"{needed.redis_mib:.1f} MiB\n"
        f"from memory     {needed.from_memory:.1%} of the hits\n"
        f"a million costs {price:.4f} at {options.core_hour:g} a core-hour and {options.gib_hour:g} a GiB-hour\n"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m load.capacity", description=__doc__)
    parser.add_argument("--requests", type=_positive, required=True, help="requests a second, one text each")
    parser.add_argument("--hit-rate", type=_share, default=0.95, help="share of known texts (%(default)s)")
    parser.add_argument("--tokens", type=_positive, default=25, help="mean length of an unknown text (%(default)s)")
    parser.add_argument("--repeated-texts", type=int, default=1000, help="different known texts (%(default)s)")
    parser.add_argument("--hashed", action="store_true", help="a text always goes to the same pod")
    parser.add_argument("--cores", type=_positive, default=Pod.cores, help="CPU request of a pod (%(default)s)")
    parser.add_argument("--target", type=_share, default=Pod.target, help="use at which pods are added (%(default)s)")
    parser.add_argument("--core-hour", type=float, default=0.04, help="price of a core-hour (%(default)s)")
    parser.add_argument("--gib-hour", type=float, default=0.005, help="price of a GiB-hour (%(default)s)")
    parser.add_argument("--costs", type=Path, help="JSON of load.capacity.costs; otherwise the measured defaults")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _positive(text: str) -> float:
    if not (value := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"{text} should be above 0")
    return value


def _share(text: str) -> float:
    if not 0 <= (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} should lie between 0 and 1")
    return value
