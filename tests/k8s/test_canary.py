"""The component `canary/model`: the stable image with another model, which an overlay names."""

import pytest
import yaml

from tests.k8s.rendering import K8S, Object, api_templates, with_components

PATCH = (K8S / "components" / "canary" / "model" / "deployment.yaml").read_text(encoding="utf-8")
NAMED = [{"patch": PATCH.replace("models:/sentiment/4", "models:/sentiment/5")}]


@pytest.mark.parametrize(
    "before",
    [(), ("model-volume",), ("model-registry",)],
    ids=lambda components: components[0] if components else "alone",
)
def test_the_canary_differs_by_its_model_alone(before: tuple[str, ...]) -> None:
    """The same image and all else of the stable pods, but for the label that metrics have, and the one variable."""
    components = ("istio", *before, "canary", "canary/model")
    objects = with_components("prod", *components, patches=NAMED)
    templates = dict(api_templates(objects))
    pods = {name: template["spec"]["containers"][0] for name, template in templates.items()}
    assert {template["metadata"]["labels"]["version"] for template in templates.values()} == {"stable", "canary"}
    assert folders(pods["valence"]) == (["/srv/package/model"] if "model-volume" in before else [])
    assert folders(pods["valence-canary"]) == ["models:/sentiment/5"]
    same = [{name: value for name, value in container.items() if name != "env"} for container in pods.values()]
    assert same[0] == same[1]


def test_the_patch_is_one_that_an_overlay_can_copy() -> None:
    """It names what it changes, and nothing but that."""
    (container,) = yaml.safe_load(PATCH)["spec"]["template"]["spec"]["containers"]
    assert set(container) == {"name", "env"}


def folders(container: Object) -> list[str]:
    """The model, each time that it is named."""
    return [item["value"] for item in container["env"] if item["name"] == "VALENCE_MODEL_DIR"]
