"""Every overlay renders, and the base with every component, alone and together, in any order."""

import pytest

from tests.k8s.rendering import ALL, COMPONENTS, K8S, OVERLAYS, all_but, base_with, identity, overlay, rendered


@pytest.mark.parametrize("name", ALL)
def test_every_composition_renders(name: str) -> None:
    """Each gives objects, and no two of the same kind and name."""
    identities = [(thing["apiVersion"], identity(thing)) for thing in rendered(name)]
    assert identities
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("scaler", ["autoscaling", "keda"])
def test_components_come_in_any_order(scaler: str) -> None:
    """All together render to the same objects forwards and backwards."""
    components = all_but("keda" if scaler == "autoscaling" else "autoscaling")

    def by_identity(*order: str) -> dict[str, object]:
        return {thing["apiVersion"] + identity(thing): thing for thing in base_with(*order)}

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
