"""Pods that fetch their model from a real MLflow by name, a canary with another version, and loads while they serve."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import yaml

from app.model.package import Package
from app.settings import BUNDLED_MODEL
from tests.app.versions import OTHER, TOKEN, swapped_labels
from tests.conftest import ROOT, free_port, until
from tests.e2e.stack import Container, Pod, Stack, command
from tests.k8s.rendering import K8S, with_components
from tests.mlflow_server import IMPATIENT, PATIENCE_SECONDS, publish

IMAGE = "localhost/valence:e2e-registry"
BASE_IMAGE = "docker.io/library/python:3.11-slim-bookworm"
LIBRARIES = (ROOT / ".venv-mlflow" / "lib" / "python3.11" / "site-packages").resolve()
NAME = "valence-e2e-registry"
FIRST, SECOND = "models:/sentiment/1", "models:/sentiment/2"


class Mlflow(Container):
    """MLflow's server in a container, at `url` for this machine and at http://mlflow.mlflow:5000 for pods."""

    def __init__(self) -> None:
        super().__init__(f"{NAME}-mlflow")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        options = [f"--publish=127.0.0.1:{port}:5000", f"--volume={LIBRARIES}:/libraries:ro"]
        options += ["--env=PYTHONPATH=/libraries", "--env=MLFLOW_DISABLE_TELEMETRY=true"]
        options += ["--env=MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "--workdir=/tmp", "--pull=never"]
        server = ["python", "-m", "mlflow", "server", "--host=0.0.0.0", "--port=5000", "--workers=1"]
        server += ["--allowed-hosts=mlflow.mlflow:5000,127.0.0.1:*"]
        server += ["--backend-store-uri=sqlite:////tmp/mlflow.db", "--artifacts-destination=/tmp/artifacts"]
        command("podman", "run", "--detach", "--name", self.name, *options, BASE_IMAGE, *server)

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return httpx.get(f"{self.url}/health", timeout=5).is_success
        except httpx.TransportError:
            return False

    def join(self, network: str) -> None:
        """Be found by the pods of a stack as soon as that has its network."""
        until(lambda: network in command("podman", "network", "ls", "--format={{.Name}}").split(), "there is a network")
        command("podman", "network", "connect", "--alias=mlflow.mlflow", network, self.name)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """With the bundled package as version 1 of `sentiment`, and one that calls positive what it calls negative as 2."""
    client = pytest.importorskip("mlflow", reason="make install brings it: the extra `registry`")
    if not LIBRARIES.is_dir():
        pytest.skip("MLflow's server is not installed for Python 3.11: make .venv-mlflow/bin/mlflow")
    server = Mlflow()
    try:
        until(server.answers, "MLflow answers", PATIENCE_SECONDS)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in IMPATIENT.items():
                patch.setenv(name, value)
            other = swapped_labels(tmp_path_factory.mktemp("packages") / "other")
            for package in (BUNDLED_MODEL, other):
                publish(client.MlflowClient(server.url), package, "sentiment", digest=Package(package).digest)
        yield server
    finally:
        server.podman("rm", "--force", "--time=0")


@pytest.fixture(scope="module")
def stack(mlflow: Mlflow) -> Iterator[Stack]:
    """The dev overlay with the first version by its name, and a canary with the second."""
    command("make", "image", "EXTRAS=tracing registry", f"IMAGE={IMAGE}")
    patch = (K8S / "components" / "canary" / "model" / "deployment.yaml").read_text(encoding="utf-8")
    overlay = yaml.safe_load((K8S / "overlays" / "dev" / "kustomization.yaml").read_text(encoding="utf-8"))
    settings = overlay["configMapGenerator"]
    settings[0]["literals"].append(f"VALENCE_MODEL_DIR={FIRST}")
    patches = [*overlay["patches"], {"patch": patch.replace("models:/sentiment/4", SECOND)}]
    components = "model-registry", "canary", "canary/model"
    objects = with_components("dev", *components, configMapGenerator=settings, patches=patches)
    stack = Stack(NAME, objects, image=IMAGE, pods=1, canary=True, VALENCE_ADMIN_TOKEN=TOKEN)
    stack.down()  # the network that MLflow joins is the one that is about to be made
    with ThreadPoolExecutor(1) as pool:
        joined = pool.submit(mlflow.join, NAME)
        with stack:
            joined.result()
            yield stack


def answered_by(pod: Pod) -> tuple[str, str]:
    """The name of the version that answers, and what it says of a warm text."""
    answer = pod.predict("I love you.")
    return answer.headers["X-Model"].partition("@")[0], answer.json()["predictions"][0][0]["label"]


def test_each_pod_serves_the_version_that_it_names(stack: Stack) -> None:
    """The same image with the package from the registry, fetched under a read-only root file system."""
    stable, canary = stack.api
    assert answered_by(stable) == ("distilbert-sst2-mini", "POSITIVE")
    assert answered_by(canary) == (OTHER, "NEGATIVE")
    told = [httpx.get(f"{pod.url}/model/info", timeout=10).json()["origin"] for pod in stack.api]
    assert told == [{"name": FIRST, "stale": None}, {"name": SECOND, "stale": None}]


def test_a_pod_takes_another_version_and_goes_back(stack: Stack) -> None:
    """By one request each to the port of operations, with the token."""
    pod = stack.api[0]
    for model, expected in ((SECOND, (OTHER, "NEGATIVE")), (FIRST, ("distilbert-sst2-mini", "POSITIVE"))):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        loaded = httpx.post(f"{pod.metrics_url}/model/load", json={"model": model}, headers=headers, timeout=120)
        assert loaded.status_code == 200, loaded.text
        assert answered_by(pod) == expected


def test_a_container_starts_again_while_the_registry_is_down(stack: Stack, mlflow: Mlflow) -> None:
    """From the pod's own volume, and it says why."""
    pod = stack.api[0]
    mlflow.podman("stop", "--time=0")
    pod.podman("restart", "--time=10")
    until(pod.ready, "the copy serves")
    assert answered_by(pod) == ("distilbert-sst2-mini", "POSITIVE")
    assert httpx.get(f"{pod.url}/model/info", timeout=10).json()["origin"]["stale"]
