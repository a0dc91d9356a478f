"""The model from an image of its own: copied by an init container, and mounted as an image volume."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import free_port, until
from tests.e2e.stack import Container, Pod, Stack, command
from tests.k8s.rendering import Object, base_with, named, with_components

MODEL_IMAGE = "localhost/valence-model:e2e"
USER = "10001:10001"


@pytest.fixture(scope="module")
def model_image() -> str:
    """The bundled package as an image."""
    command("make", "model-image", f"MODEL_IMAGE={MODEL_IMAGE}")
    return MODEL_IMAGE


@pytest.fixture(scope="module")
def copied(image: str, model_image: str) -> Iterator[Stack]:
    """The dev overlay with the component's init container."""
    objects = with_components("dev", "model-volume/init-container")
    (init,) = named(objects, "Deployment", "valence")["spec"]["template"]["spec"]["initContainers"]
    init["image"] = model_image
    with Stack("valence-e2e-model", objects, image=image, pods=1) as stack:
        yield stack


class Mounted(Container):
    """One container of the service with the model image mounted where the component mounts it, by podman itself."""

    def __init__(self, image: str, model_image: str) -> None:
        super().__init__("valence-e2e-image-volume")
        self.port = free_port()
        volume = api(base_with("model-volume"))
        mount = f"type=image,source={model_image},destination={volume['volumeMounts'][0]['mountPath']},rw=false"
        variables = [
            f"--env={item['name']}={item['value']}" for item in volume["env"] if item["name"].endswith("MODEL_DIR")
        ]
        options = ["--read-only", "--cap-drop=all", f"--user={USER}", f"--publish=127.0.0.1:{self.port}:8000"]
        command("podman", "run", "--detach", "--name", self.name, *options, "--mount", mount, *variables, image)

    def ready(self) -> bool:
        """What the readiness probe would say."""
        return Pod(self.name, f"http://127.0.0.1:{self.port}", "").ready()


@pytest.fixture
def mounted(image: str, model_image: str) -> Iterator[Mounted]:
    """Removed at the end."""
    container = Mounted(image, model_image)
    yield container
    container.podman("rm", "--force", "--time=0")


def api(objects: list[Object]) -> Object:
    """The API's container."""
    container: Object = named(objects, "Deployment", "valence")["spec"]["template"]["spec"]["containers"][0]
    return container


def test_the_model_image_has_one_layer_and_nothing_but_the_package(model_image: str, tmp_path: Path) -> None:
    """And the one program that an init container copies with."""
    (facts,) = json.loads(command("podman", "image", "inspect", model_image))
    assert len(facts["RootFS"]["Layers"]) == 1
    assert facts["Config"]["User"] == USER
    archive = tmp_path / "image.tar"
    command("podman", "save", "--format=docker-dir", f"--output={archive}", model_image)
    (layer,) = (
        path for path in archive.iterdir() if path.name.startswith(facts["RootFS"]["Layers"][0].removeprefix("sha256:"))
    )
    names = {Path(name).parts[0] for name in command("tar", "--list", "--file", str(layer)).splitlines()}
    assert names == {"model", "busybox"}


def test_a_pod_takes_its_model_from_the_copy(copied: Stack) -> None:
    """Ready, so the golden texts scored right; and the package is the copied one."""
    copied.wait_ready()
    (pod,) = copied.api
    assert pod.predict("I love you.").json()["predictions"][0][0]["label"] == "POSITIVE"
    assert pod.execute("printenv", "VALENCE_MODEL_DIR") == "/srv/package/model"
    assert "manifest.json" in pod.execute("ls", "/srv/package/model").split()


def test_a_pod_takes_its_model_from_the_mounted_image(mounted: Mounted) -> None:
    """As the kubelet mounts an image volume: read-only, without a copy."""
    until(mounted.ready, "the golden texts have scored from the image volume")
    body = {"text": ["I love you."]}
    answer = httpx.post(f"http://127.0.0.1:{mounted.port}/predict", json=body, timeout=10)
    assert answer.json()["predictions"][0][0]["label"] == "POSITIVE"
    assert "Read-only" in mounted.execute("sh", "-c", "touch /srv/package/model/x 2>&1 || true")
