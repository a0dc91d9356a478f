"""Redis hangs, stops and dies, workers are killed, pods are told to go: no request is lost."""

import os
import signal
from collections.abc import Callable

import pytest

from tests.conftest import until
from tests.e2e.stack import Container, Stack
from tests.e2e.traffic import Traffic


def breakers(stack: Stack) -> list[float]:
    """1 for each pod that has given Redis up for now."""
    return [pod.metric("valence_redis_breaker_open") for pod in stack.api]


def pause(redis: Container) -> Callable[[], object]:
    """Hang it: connections stay open, nothing answers."""
    redis.podman("pause")
    return lambda: redis.podman("unpause")


def stop(redis: Container) -> Callable[[], object]:
    """Stop it in good order."""
    redis.podman("stop", "-t", "5")
    return lambda: redis.podman("start")


@pytest.mark.parametrize("fault", [pause, stop])
def test_without_redis_no_request_fails(dev: Stack, fault: Callable[[Container], Callable[[], object]]) -> None:
    """Every pod opens its breaker, serves on, and closes it when Redis is back."""
    with Traffic(dev.api) as traffic:
        until(traffic.goes_on, "requests are answered")
        repair = fault(dev.redis)
        try:
            until(lambda: breakers(dev) == [1, 1], "both breakers are open")
            until(traffic.goes_on, "requests are answered without Redis")
        finally:
            repair()
        until(lambda: breakers(dev) == [0, 0], "both breakers are closed")
        until(traffic.goes_on, "requests are answered with Redis back")
    assert traffic.failures == []


def test_a_killed_redis_comes_back_by_itself(dev: Stack) -> None:
    """The pod's restart policy starts it again, empty, and both pods share texts through it once more."""
    with Traffic(dev.api) as traffic:
        until(traffic.goes_on, "requests are answered")
        (process, *_) = dev.redis.processes()
        os.kill(process, signal.SIGKILL)
        until(lambda: dev.redis.processes() not in ([], [process]), "Redis runs again")
        until(lambda: breakers(dev) == [0, 0], "both breakers are closed")
        until(traffic.goes_on, "requests are answered")
    assert traffic.failures == []
    dev.api[0].predict("a text for the Redis that came back")

    def shared() -> bool:
        return dev.api[1].predict("a text for the Redis that came back").headers["X-Cache"] == "1/1"

    until(shared, "the other pod finds it")


def test_a_killed_worker_is_replaced(dev: Stack) -> None:
    """Another starts in the same container, and the pod is ready again with the other serving meanwhile."""
    pod = dev.api[0]
    parent, worker = pod.processes()
    with Traffic(dev.api[1:]) as traffic:
        os.kill(worker, signal.SIGKILL)
        until(lambda: pod.processes() not in ([parent], [parent, worker]), "there is another worker")
        until(pod.ready, "the pod is ready again")
    assert traffic.failures == []
    assert pod.processes()[0] == parent
    assert pod.predict("I love you.").status_code == 200


def test_sigterm_under_load_loses_no_request(dev: Stack) -> None:
    """Told to stop, without even the preStop pause: says so on /readyz, serves on, and ends by itself with status 0."""
    pod = dev.api[0]
    with Traffic(dev.api) as traffic:
        until(traffic.goes_on, "requests are answered")
        before = traffic.answered
        pod.podman("stop", "-t", "45")
        assert traffic.answered > before
        assert pod.inspect("{{.State.ExitCode}} {{.State.OOMKilled}}") == "0 false"
        pod.podman("start")
        until(pod.ready, "the pod is ready again")
        until(traffic.goes_on, "requests are answered")
    assert traffic.failures == []
