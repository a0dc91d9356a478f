"""The component `model-volume`: every version of the API takes its package from the image that an overlay names."""

import pytest

from tests.k8s.rendering import Object, api_templates, with_components

DIGEST = "sha256:" + "0" * 64
IMAGES = [{"name": "valence-model", "newName": "registry.test/valence-model", "digest": DIGEST}]


def prod(*components: str) -> dict[str, Object]:
    """Deployment's name -> its pod's specification, where the model's image is pinned by its digest."""
    objects = with_components("prod", *components, images=IMAGES)
    return {name: template["spec"] for name, template in api_templates(objects)}


@pytest.mark.parametrize(
    "components",
    [("model-volume",), ("istio", "model-volume", "canary"), ("istio", "canary", "model-volume")],
    ids=" ".join,
)
def test_every_version_mounts_the_image_by_its_digest(components: tuple[str, ...]) -> None:
    """`kustomize edit set image valence-model=...` finds the volume, and the API its package in it."""
    pods = prod(*components)
    assert set(pods) == {"valence"} | ({"valence-canary"} & {f"valence-{name}" for name in components})
    for spec in pods.values():
        (volume,) = (volume for volume in spec["volumes"] if volume["name"] == "model")
        assert volume["image"] == {"reference": f"registry.test/valence-model@{DIGEST}"}
        check_mount(spec)


def test_an_init_container_copies_the_same_image() -> None:
    """To where the API looks for it."""
    spec = prod("model-volume/init-container")["valence"]
    (init,) = spec["initContainers"]
    assert init["image"] == f"registry.test/valence-model@{DIGEST}"
    *_, source, target = init["command"]
    (mount,) = init["volumeMounts"]
    assert (source, target.rstrip("/")) == ("/model", mount["mountPath"])
    check_mount(spec)


def check_mount(spec: Object) -> None:
    """The API's package is the folder `model` of the volume, which it cannot write to."""
    (container,) = spec["containers"]
    (mount,) = container["volumeMounts"]
    (folder,) = (item["value"] for item in container["env"] if item["name"] == "VALENCE_MODEL_DIR")
    assert (mount["name"], mount["readOnly"]) == ("model", True)
    assert folder == f"{mount['mountPath']}/model"
