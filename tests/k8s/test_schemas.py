"""Every object is what its schema says, unknown fields refused."""

from copy import deepcopy

import jsonschema
import kubernetes_validate
import pytest

from tests.k8s.rendering import ALL, Object, base_with, of_kind, rendered
from tests.k8s.schemas import CORE_GROUPS, validate_core, validate_custom

WITHOUT_DEFINITION = "keda.sh"
"""KEDA's definitions are not at hand: test_scaling.py checks its one object as the HPA that KEDA makes of it."""


def group(thing: Object) -> str:
    """`apps` of `apps/v1`, nothing of `v1`."""
    return str(thing["apiVersion"]).rpartition("/")[0]


@pytest.mark.parametrize("name", ALL)
def test_core_objects_pass_the_strict_schemas_of_kubernetes(name: str) -> None:
    """As field validation would on the oldest and the newest supported version."""
    for thing in rendered(name):
        if group(thing) in CORE_GROUPS:
            validate_core(thing)


@pytest.mark.parametrize("name", ALL)
def test_custom_objects_pass_the_schemas_of_their_definitions(name: str) -> None:
    """Istio, Gateway API, prometheus-operator."""
    for thing in rendered(name):
        if group(thing) not in (*CORE_GROUPS, WITHOUT_DEFINITION):
            validate_custom(thing)


def test_an_unknown_field_of_a_core_object_is_refused() -> None:
    """Proves that the check can fail."""
    (deployment, *_) = deepcopy(of_kind(base_with(), "Deployment"))
    deployment["spec"]["template"]["spec"]["containers"][0]["resourcez"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        validate_core(deployment)


@pytest.mark.parametrize(
    ("component", "kind"), [("istio", "VirtualService"), ("monitoring", "ServiceMonitor"), ("gateway-api", "HTTPRoute")]
)
def test_an_unknown_field_of_a_custom_object_is_refused(component: str, kind: str) -> None:
    """Proves that the check can fail."""
    thing = deepcopy(of_kind(base_with(component), kind)[0])
    validate_custom(thing)
    thing["spec"]["retriez"] = 1
    with pytest.raises(jsonschema.ValidationError):
        validate_custom(thing)
