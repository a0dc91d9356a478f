"""overlays/prod as pods: the same image with production's limits."""

import random

import httpx

from tests.conftest import until
from tests.e2e.stack import Pod, Stack
from tests.k8s.rendering import overlay

REQUESTS = 10_000
MEMORY_LIMIT_KIB = 512 * 1024
"""Of the API's pods, in .k8s/base/api/deployment."""

REDIS = ("Deployment", "valence-redis")


def test_every_pod_is_up_with_its_sidecar(prod: Stack) -> None:
    """Two of the API, Redis, and Redis' exporter, none of them restarted."""
    states = {state["container"].removeprefix(f"{prod.name}-"): state for state in prod.status()}
    assert set(states) == {"valence-0-api", "valence-1-api", "valence-redis-0-redis", "valence-redis-0-exporter"}
    assert {(state["state"], state["restarts"]) for state in states.values()} == {("running", 0)}


def test_the_exporter_speaks_for_redis(prod: Stack) -> None:
    """It reaches Redis with the password from the Secret."""
    (address,) = {state["ip"] for state in prod.status() if state["container"].endswith("exporter")}
    lines = httpx.get(f"http://{address}:9121/metrics", timeout=10).text.splitlines()
    assert "redis_up 1" in lines
    (limit,) = (line for line in lines if line.startswith("redis_memory_max_bytes"))
    assert float(limit.split()[-1]) == 96 * 1024 * 1024


def test_memory_stays_within_the_limit(prod: Stack) -> None:
    """10,000 mixed requests, and no process of a pod ever held more than two thirds of the limit."""
    random_ = random.Random(4)
    codes: dict[int, int] = {}
    with httpx.Client(timeout=60) as client:
        for number in range(REQUESTS):
            pod = prod.api[number % len(prod.api)]
            status = client.post(f"{pod.url}/predict", content=mixed_body(number, random_)).status_code
            codes[status] = codes.get(status, 0) + 1
    assert set(codes) == {200, 422}
    for pod in prod.api:
        assert peak_kib(pod) < MEMORY_LIMIT_KIB * 2 / 3, pod.name
    assert {(state["restarts"], state["oom"]) for state in prod.status()} == {(0, False)}


def test_without_the_secret_of_redis_the_api_answers(image: str) -> None:
    """Redis waits for its password; the API is ready, and says that it goes without."""
    objects = [thing for thing in overlay("prod") if (thing["kind"], thing["metadata"]["name"]) != REDIS]
    with Stack("valence-e2e-alone", objects, image=image, pods=1) as stack:
        (pod,) = stack.api
        answers = [pod.predict(f"text {number}") for number in range(10)]
        assert {answer.status_code for answer in answers} == {200}
        until(lambda: pod.metric("valence_redis_breaker_open") == 1, "the breaker is open")


def mixed_body(number: int, random_: random.Random) -> bytes:
    """Mostly short texts, half of them known; now and then a long one, a hundred at once, or not JSON at all."""
    kind = random_.random()
    if kind < 0.01:
        return b'{"text": ['
    if kind < 0.02:
        texts = [f"{number} {index} is worth a look" for index in range(100)]
    elif kind < 0.04:
        texts = [f"{number} " + "and then it went on and on " * random_.randrange(1, 120)]
    elif kind < 0.5:
        texts = [f"a text of those that come again: {random_.randrange(200)}"]
    else:
        texts = [f"{number} " + "a good one " * random_.randrange(1, 8)]
    return httpx.Request("POST", "http://pod", json={"text": texts}).content


def peak_kib(pod: Pod) -> int:
    """The most memory that the pod's processes held, added up, in KiB."""
    return sum(int(pod.status(process, "VmHWM")[0]) for process in pod.processes())
