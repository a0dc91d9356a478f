"""Objects against schemas: Kubernetes' own in strict mode, and those that custom resources bring with them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.k8s.rendering import LOADER, Object

CRDS = Path(__file__).resolve().parents[3] / "shared" / "crds"
KUBERNETES = ("1.33", "1.36")
"""The oldest version that is supported, and the newest that was looked at."""

CORE_GROUPS = ("", "apps", "autoscaling", "batch", "policy", "networking.k8s.io")


def validate_core(thing: Object) -> None:
    """Raises kubernetes_validate.ValidationError for a wrong or an unknown field."""
    _validate_once(json.dumps(thing))


@cache
def _validate_once(thing: str) -> None:
    """Most objects are the same in every composition, and each takes 40 ms."""
    for version in KUBERNETES:
        kubernetes_validate.validate(json.loads(thing), version, strict=True)


def validate_custom(thing: Object) -> None:
    """Raises jsonschema.ValidationError, or KeyError for a kind whose definition is not there."""
    jsonschema.Draft202012Validator(custom_schemas()[thing["apiVersion"], thing["kind"]]).validate(thing)


@cache
def custom_schemas() -> dict[tuple[str, str], Any]:
    """(apiVersion, kind) -> schema that refuses unknown fields, of every definition at hand."""
    if not CRDS.is_dir():
        pytest.skip("the custom resource definitions (../shared/crds) are not part of this clone")
    schemas = {}
    for file in sorted(CRDS.glob("*.yaml")):
        for definition in yaml.load_all(file.read_text(encoding="utf-8"), LOADER):
            if not definition or definition["kind"] != "CustomResourceDefinition":
                continue
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                # Where the schema of a definition says nothing, the API server puts its own for these three.
                schema["properties"] |= {"metadata": {"type": "object"}}
                schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
                schemas[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return schemas


def strict(schema: Any) -> Any:
    """The schema with unknown fields forbidden, as `kubectl apply` (field validation: strict) does on a cluster."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
    fields = schema.get("properties")
    known = isinstance(fields, dict) and schema.get("type") == "object"
    if known and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result
