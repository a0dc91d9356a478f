"""Beyond one machine, computed and not measured: `python -m load.capacity.simulation`.

First what loads up to 100,000 requests/s take in the end, by load.capacity, and which of the parts is the limit. Then
how the autoscaler gets there after a tenfold rise: second by second, with the HPA's own algorithm
(https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details) and the delays of metrics
and of starts. Load is a fluid spread evenly over the ready pods; what they cannot compute is refused, as 429s are.
"""

import argparse
import math
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from load.capacity.plan import Costs, Load, Pod, capacity, cpu_cores, hit_rate, read_costs

SYNC_SECONDS = 15
"""--horizontal-pod-autoscaler-sync-period."""
METRICS_SECONDS = 15
"""--metric-resolution of metrics-server: usage is an average over that, and that old at worst."""
TOLERANCE = 0.1
REDIS_CORES = 1.0
"""One thread of Redis executes commands."""
REDIS_MIB = 96
"""maxmemory of .k8s/base/redis; beyond it the least recently used texts go."""


@dataclass(frozen=True)
class Scaling:
    """How the autoscaler adds pods, as .k8s/components/autoscaling has it, and how long one takes to be ready."""

    step_pods: int = 2
    step_factor: float = 0.0
    """Pods that may come in a period, as a share of those there; 1.0 is Kubernetes' own default (100 %)."""
    period_seconds: int = 30
    stabilization_seconds: int = 30
    start_seconds: int = 10
    """Scheduling, image at hand, 1 s of our own start, probes."""
    most_pods: int = 10_000


@dataclass(frozen=True)
class Rise:
    """What a rise of the load did."""

    seconds: int | None
    """Until the pods bore it; None: not within the time."""
    refused: float
    """Share of the requests of that time."""
    pods: int


class Autoscaler:
    """The HPA for one Deployment: `pods_at` is called each second with the CPU use of the ready pods."""

    def __init__(self, scaling: Scaling, pod: Pod, pods: int) -> None:
        self._scaling, self._pod = scaling, pod
        self.wanted = pods
        self._uses: deque[float] = deque(maxlen=METRICS_SECONDS)
        self._proposals: list[tuple[int, int]] = []
        self._added: list[tuple[int, int]] = []

    def pods_at(self, second: int, use: float, ready: int) -> int:
        """How many pods there should be. `use` is cores a ready pod."""
        self._uses.append(use)
        if second % SYNC_SECONDS == 0:
            ratio = sum(self._uses) / len(self._uses) / (self._pod.cores * self._pod.target)
            proposed = self.wanted if abs(ratio - 1) <= TOLERANCE else math.ceil(ready * ratio)
            self._proposals.append((second, max(proposed, self._pod.least)))
            since = second - self._scaling.stabilization_seconds
            lowest = min(pods for at, pods in self._proposals if at >= since)
            self._grow(second, min(lowest, self._scaling.most_pods))
        return self.wanted

    def _grow(self, second: int, proposed: int) -> None:
        """Upwards alone, and no faster than the policy allows: a fall of the load is not simulated."""
        recent = sum(pods for at, pods in self._added if at > second - self._scaling.period_seconds)
        before = self.wanted - recent
        allowed = before + max(self._scaling.step_pods, math.floor(before * self._scaling.step_factor))
        if min(proposed, allowed) > self.wanted:
            self._added.append((second, min(proposed, allowed) - self.wanted))
            self.wanted = min(proposed, allowed)


def rise(before: Load, after: Load, costs: Costs, pod: Pod, scaling: Scaling, *, seconds: int = 3600) -> Rise:
    """The load changes at once; how long until it is borne, and what is refused until then."""
    ready = capacity(before, costs, pod).pods
    autoscaler, starting, refused = Autoscaler(scaling, pod, ready), deque[int](), 0.0
    for second in range(1, seconds + 1):
        while starting and starting[0] <= second:
            starting.popleft()
            ready += 1
        needed = cpu_cores(after, costs, ready) / ready
        refused += max(0.0, 1 - pod.limit / needed)
        wanted = autoscaler.pods_at(second, min(needed, pod.limit), ready)
        starting.extend([second + scaling.start_seconds] * (wanted - ready - len(starting)))
        if needed <= pod.cores * pod.target * (1 + TOLERANCE):
            return Rise(second, refused / second, ready)
    return Rise(None, refused / seconds, ready)


def limit(load: Load, costs: Costs, pod: Pod) -> str:
    """What is used up first, in words."""
    needed = capacity(load, costs, pod)
    if needed.redis_cores > REDIS_CORES:
        return f"CPU of Redis, {needed.redis_cores:.1f} cores"
    if needed.redis_mib > REDIS_MIB:
        return f"memory of Redis, {needed.redis_mib:,.0f} MiB"
    return "CPU of the pods"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m load.capacity.simulation", description=__doc__)
    parser.add_argument("--costs", type=Path, help="JSON of load.capacity.costs; otherwise the measured defaults")
    costs = read_costs(parser.parse_args(arguments).costs)
    sys.stdout.write("\n".join([*steady_rows(costs, Pod()), "", *rise_rows(costs, Pod()), ""]))
    return 0


def steady_rows(costs: Costs, pod: Pod) -> list[str]:
    """What loads take in the end where 95 % repeat some text, texts to any pod and each to its own."""
    rows = ["| requests/s | repeated texts | hits | to any pod | each to its own pod |", "|---|---|---|---|---|"]
    for requests in (1_000, 10_000, 100_000):
        for texts in (1_000, 100_000, 10_000_000):
            hits = hit_rate(requests, 0.95, texts)
            cells = [describe(Load(requests, hits, 25, texts, hashed), costs, pod) for hashed in (False, True)]
            rows.append(f"| {requests:,} | {texts:,} | {hits:.0%} | {' | '.join(cells)} |")
    return rows


def describe(load: Load, costs: Costs, pod: Pod) -> str:
    """A cell: pods, share from memory, and the limit."""
    needed = capacity(load, costs, pod)
    return f"{needed.pods} pods, {needed.from_memory:.0%} of the hits from memory; {limit(load, costs, pod)}"


def rise_rows(costs: Costs, pod: Pod) -> list[str]:
    """From 10,000 to 100,000 requests/s at once, by policy and by the time that a pod takes to be ready."""
    before, after = Load(10_000, 0.95, 25), Load(100_000, 0.95, 25)
    policies = {
        "ours: 2 pods in 30 s": Scaling(),
        "Kubernetes' default: 100 % or 4 pods in 15 s": Scaling(4, 1.0, 15, 0),
    }
    rows = ["| policy | pod ready after | borne after | refused until then |", "|---|---|---|---|"]
    for name, policy in policies.items():
        for start in (10, 90):
            found = rise(before, after, costs, pod, replace(policy, start_seconds=start))
            when = f"{found.seconds} s, {found.pods} pods" if found.seconds else "never"
            rows.append(f"| {name} | {start} s | {when} | {found.refused:.0%} |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
