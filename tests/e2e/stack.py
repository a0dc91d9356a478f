"""Rendered manifests as running pods, by `kube-local`, and what a test does to a pod."""

import json
import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx
import yaml

from tests.app import plain_http
from tests.conftest import free_port, until
from tests.k8s.rendering import Object

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (ROOT / os.environ.get("CLUSTER_TOOLS", "../shared/tools/cluster")).resolve()
ENVIRONMENT = {**os.environ, "CONTAINERS_CONF": str(TOOLS / "containers.conf"), "DISABLE_HC_SYSTEMD": "true"}


def command(*arguments: str, check: bool = True, given: str | None = None) -> str:
    """Run a program with podman's configuration; its standard output."""
    answer = subprocess.run(
        arguments, input=given, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900
    )
    said = (answer.stdout + answer.stderr)[-2000:]
    assert answer.returncode == 0 or not check, f"{' '.join(arguments)}\n{said}"
    return answer.stdout.strip()


class Container:
    """One container of a running pod."""

    def __init__(self, name: str) -> None:
        self.name = name

    def podman(self, verb: str, *options: str) -> str:
        """`podman VERB OPTIONS CONTAINER`."""
        return command("podman", verb, *options, self.name)

    def inspect(self, template: str) -> str:
        """One fact, by podman's template."""
        return self.podman("inspect", "--format", template)

    def execute(self, *arguments: str, check: bool = True) -> str:
        """Run a program inside."""
        return command("podman", "exec", self.name, *arguments, check=check)

    def processes(self) -> list[int]:
        """Process ids as this machine counts them, parents first; none while it does not run."""
        return [int(line) for line in command("podman", "top", self.name, "hpid", check=False).splitlines()[1:]]

    def status(self, process: int, field: str) -> list[str]:
        """A line of /proc/PROCESS/status, in words."""
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value.split()
        raise KeyError(field)


class Pod(Container):
    """One pod of the API, with its ports published on this machine."""

    def __init__(self, name: str, url: str, metrics_url: str) -> None:
        super().__init__(name)
        self.url = url
        self.metrics_url = metrics_url

    def predict(self, *texts: str) -> httpx.Response:
        """Score texts."""
        return plain_http.post(f"{self.url}/predict", json={"text": texts}, timeout=30)

    def ready(self) -> bool:
        """What the readiness probe would say."""
        with suppress(httpx.TransportError):
            return plain_http.get(f"{self.url}/readyz", timeout=2).status_code == httpx.codes.OK
        return False

    def metric(self, name: str) -> float:
        """The value of one sample, named with its labels as `/metrics` prints it; 0 when it is not there."""
        for line in plain_http.get(f"{self.metrics_url}/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample == name:
                return float(value)
        return 0.0


class Stack:
    """Manifests as pods, as long as the `with` block lasts.

    `canary` is for manifests with one: its pod is the last of `api`, and the pods are reached by their own addresses.
    """

    def __init__(
        self, name: str, objects: list[Object], *, image: str, pods: int, canary: bool = False, **variables: str
    ) -> None:
        self.name = name
        self._canary = canary
        names = [f"valence-{index}" for index in range(pods)] + ["valence-canary-0"] * canary
        self.api = [Pod(f"{name}-{pod}-api", "", "") for pod in names]
        self.redis = Container(f"{name}-valence-redis-0-redis")
        self._manifests = yaml.safe_dump_all(objects)
        (wanted,) = {
            container["image"]
            for thing in objects
            if thing["kind"] == "Deployment" and thing["metadata"]["name"] == "valence"
            for container in thing["spec"]["template"]["spec"]["containers"]
        }
        # A pod may take long on a loaded machine; the manifests' own startup probe bounds it, too.
        self._options = ["--timeout", "300", "--image", f"{wanted}={image}", "--replicas", f"valence={pods}"]
        for variable, value in variables.items():
            self._options += ["--set", f"valence.{variable}={value}"]

    def __enter__(self) -> Self:
        published = [] if self._canary else self._publish()
        command(str(TOOLS / "kube-local"), "up", self.name, *published, *self._options, given=self._manifests)
        if self._canary:
            addresses = {state["container"]: state["ip"] for state in self.status()}
            for pod in self.api:
                pod.url, pod.metrics_url = (f"http://{addresses[pod.name]}:{port}" for port in (8000, 9090))
        return self

    def _publish(self) -> list[str]:
        """Options that publish the pods on this machine, where `kube-local` counts ports by Service."""
        api, metrics = consecutive_ports(len(self.api)), consecutive_ports(len(self.api))
        for index, pod in enumerate(self.api):
            pod.url, pod.metrics_url = f"http://127.0.0.1:{api + index}", f"http://127.0.0.1:{metrics + index}"
        return ["--publish", f"valence={api}", "--publish", f"valence:http-metrics={metrics}"]

    def __exit__(self, *_: object) -> None:
        self.down()

    def down(self) -> None:
        """Remove its pods and its network, also those that an earlier run has left."""
        command(str(TOOLS / "kube-local"), "down", self.name)

    def status(self) -> list[Object]:
        """Every container's state, restarts, and whether it ran out of memory."""
        pods: list[Object] = json.loads(command(str(TOOLS / "kube-local"), "status", self.name))["pods"]
        return pods

    def wait_ready(self) -> None:
        """Return once every pod of the API is ready."""
        for pod in self.api:
            until(pod.ready, f"{pod.name} is ready")


def consecutive_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    while True:
        first = free_port()
        if all(port_is_free(first + index) for index in range(count)):
            return first


def port_is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def with_redis_password(objects: list[Object]) -> list[Object]:
    """The objects, and the Secret that docs/deploy.md has the user make."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "valence-redis"},
        "stringData": {"password": "a-password-of-this-test"},
    }
    return [*objects, secret]
