"""The calculator, the autoscaler of the simulation, and the costs of this machine against what they predict."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from load.capacity.costs import Counts, measure, predicted_seconds, straight_line
from load.capacity.plan import Capacity, Costs, Load, Pod, capacity, cpu_cores, from_memory, main, price_per_million
from load.capacity.simulation import Autoscaler, Scaling, rise
from tests.k8s.rendering import base_with, named

ROUND = Costs(request_us=50, redis_us=100, miss_us=1000, token_us=40, redis_server_us=5)


def test_cpu_is_what_each_request_does() -> None:
    """By hand: 1,000 requests/s, 90 % known and all of those in memory, 100 misses of 25 tokens."""
    load = Load(1000, 0.9, 25, repeated_texts=1)
    assert from_memory(load, 1) == pytest.approx(1, abs=1e-4)
    by_hand = 1000 * 50e-6 + 100 * 100e-6 + 100 * (1000e-6 + 25 * 40e-6)
    assert cpu_cores(load, ROUND, 1) == pytest.approx(by_hand, rel=1e-3)


@pytest.mark.parametrize("requests", [1, 500, 20_000, 100_000])
def test_pods_bear_the_load_and_one_less_would_not(requests: float) -> None:
    """At the autoscaler's target, two at least."""
    load, pod = Load(requests, 0.95, 25), Pod()
    needed = capacity(load, ROUND, pod)
    assert needed.cpu_cores <= needed.pods * pod.cores * pod.target
    fewer = needed.pods - 1
    assert needed.pods == pod.least or cpu_cores(load, ROUND, fewer) > fewer * pod.cores * pod.target


def test_more_pods_know_less_unless_texts_have_their_pod() -> None:
    """Each pod's memory sees its share of a text's requests; by consistent hashing all of them."""
    load = Load(10_000, 0.95, 25, repeated_texts=100_000)
    assert from_memory(load, 50) < from_memory(load, 5)
    hashed = replace(load, hashed=True)
    assert from_memory(hashed, 50) == from_memory(hashed, 5) > from_memory(load, 5)


def test_a_price_is_for_what_is_asked_for() -> None:
    """Two cores and a tenth for Redis at 1 a core-hour, 3.6 million predictions an hour."""
    load = Load(1000, 1, 25, repeated_texts=1)
    needed = Capacity(2, 0.1, 0, 0.0, 0.0, 160, 1)
    assert price_per_million(needed, load, Pod(), core_hour=1, gib_hour=0) == pytest.approx(2.1 / 3.6)


def test_the_command_prints_what_the_functions_compute(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With costs from a file; an unknown cost and a share above 1 are refused."""
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"costs": {"request_us": 100}}))
    assert main(["--requests", "500", "--costs", str(file), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["cpu_cores"] == capacity(Load(500, 0.95, 25), Costs(request_us=100), Pod()).cpu_cores
    file.write_text(json.dumps({"costs": {"request": 100}}))
    with pytest.raises(ValueError, match="no such cost: request"):
        main(["--requests", "500", "--costs", str(file)])
    with pytest.raises(SystemExit):
        main(["--requests", "500", "--hit-rate", "95"])


def test_a_pod_is_what_the_manifests_say() -> None:
    """Request, limit, target and the autoscaler's behaviour."""
    objects = base_with("autoscaling")
    (api,) = named(objects, "Deployment", "valence")["spec"]["template"]["spec"]["containers"]
    scaler = named(objects, "HorizontalPodAutoscaler", "valence")["spec"]
    (metric,) = scaler["metrics"]
    (policy,) = scaler["behavior"]["scaleUp"]["policies"]
    pod, scaling = Pod(), Scaling()
    assert float(api["resources"]["requests"]["cpu"]) == pod.cores
    assert api["resources"]["limits"]["cpu"] == f"{pod.limit * 1000:.0f}m"
    assert api["resources"]["requests"]["memory"] == f"{pod.memory_mib}Mi"
    assert metric["containerResource"]["target"]["averageUtilization"] == pod.target * 100
    assert (policy["value"], policy["periodSeconds"]) == (scaling.step_pods, scaling.period_seconds)
    assert scaler["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == scaling.stabilization_seconds


def test_the_autoscaler_follows_its_policy() -> None:
    """Never more than two pods in any 30 s, and none within the tolerance."""
    autoscaler = Autoscaler(Scaling(), Pod(), 2)
    assert [autoscaler.pods_at(second, 0.75, 2) for second in range(120)][-1] == 2
    wanted = [autoscaler.pods_at(second, 1.5, autoscaler.wanted) for second in range(120, 400)]
    assert wanted[-1] > 10
    assert all(later - earlier <= 2 for earlier, later in zip(wanted, wanted[30:], strict=False))


def test_a_slower_start_refuses_more() -> None:
    """And the pods in the end are those that the calculator asks for, within the tolerance."""
    before, after = Load(10_000, 0.95, 25), Load(100_000, 0.95, 25)
    quick = rise(before, after, ROUND, Pod(), Scaling())
    slow = rise(before, after, ROUND, Pod(), Scaling(start_seconds=90))
    assert quick.seconds
    assert slow.seconds
    assert quick.seconds < slow.seconds
    assert quick.refused * quick.seconds < slow.refused * slow.seconds
    assert quick.pods >= capacity(after, ROUND, Pod()).pods / 1.1


def test_a_line_through_points_on_a_line() -> None:
    """Whatever their weights."""
    assert straight_line([(8, 1400.0), (25, 3100.0), (128, 13400.0)]) == pytest.approx((600, 100))


def test_costs_predict_what_they_were_measured_with() -> None:
    """A real service, briefly: every cost is above zero, a longer text costs more, and the sum is the sum."""
    costs, lines = measure(seconds=0.3)
    assert len(lines) >= 5
    assert costs.request_us > 0
    assert costs.token_us > 0
    done = Counts(requests=1000, texts=1000, from_memory=900, from_redis=0, from_model=100, tokens=2500, cpu_seconds=0)
    looked_up = 100 * costs.redis_us
    model = 100 * costs.miss_us + 2500 * costs.token_us
    assert predicted_seconds(done, costs) == pytest.approx((1000 * costs.request_us + looked_up + model) / 1e6)
