"""Every overlay renders, and the base with every component, alone and together, in any order."""

from copy import deepcopy

import pytest

from tests.k8s.rendering import (
    ALL,
    COMPONENTS,
    K8S,
    OVERLAYS,
    all_but,
    base_with,
    containers,
    identity,
    overlay,
    pod_templates,
    rendered,
)


@pytest.mark.parametrize("name", ALL)
def test_every_composition_renders(name: str) -> None:
    """Each gives objects, and no two of the same kind and name."""
    identities = [(thing["apiVersion"], identity(thing)) for thing in rendered(name)]
    assert identities
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("scaler", ["autoscaling", "keda"])
def test_components_come_in_any_order(scaler: str) -> None:
    """All together render to the same objects forwards and backwards, but for the order of volumes."""
    components = all_but("keda" if scaler == "autoscaling" else "autoscaling", "managed-redis", "model-registry")

    def by_identity(*order: str) -> dict[str, object]:
        objects = deepcopy(base_with(*order))
        for _, template in pod_templates(objects):
            for owner, field in (
                (template["spec"], "volumes"),
                *((one, "volumeMounts") for one in containers(template)),
            ):
                owner.get(field, []).sort(key=lambda item: item["name"])
        return {thing["apiVersion"] + identity(thing): thing for thing in objects}

    assert by_identity(*components) == by_identity(*reversed(components))


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_changes_something(name: str) -> None:
    """None is there for nothing."""
    assert base_with(name) != base_with()


def test_dev_needs_no_custom_resources() -> None:
    """A bare cluster knows every kind of the dev overlay."""
    groups = {thing["apiVersion"].rpartition("/")[0] for thing in overlay("dev")}
    assert groups <= {"", "apps", "policy"}


def test_the_readme_names_every_part() -> None:
    """Its tree has a line for each component and overlay."""
    tree = (K8S / "README.md").read_text(encoding="utf-8").split("```")[1]
    named = {line.split("/")[0].strip() for line in tree.splitlines() if "/" in line}
    assert named == {"base", "api", "redis", "components", "overlays", *COMPONENTS, *OVERLAYS}
