"""Who may call: keys from a Secret that can change, and tokens for whatever is not named as open."""

import re
from typing import Any

import pytest

from app.http.auth import OPEN, STATIC
from tests.k8s.rendering import Object, api_templates, base_with, containers, named, of_kind
from tests.k8s.test_public_routes import PUBLIC

NEEDS_TOKEN = PUBLIC - OPEN - {STATIC}
"""Of what is public: the same as needs a key."""


@pytest.mark.parametrize("components", [("api-keys",), ("api-keys", "canary"), ("model-volume", "api-keys", "canary")])
def test_every_version_reads_its_keys_from_the_secret(components: tuple[str, ...]) -> None:
    """The file of the setting lies in the mounted Secret; mounted whole, or it would never change."""
    objects = base_with(*components)
    (settings,) = (thing["data"] for thing in of_kind(objects, "ConfigMap") if "VALENCE_TIMEOUT" in thing["data"])
    versions = dict(api_templates(objects))
    assert len(versions) == (2 if "canary" in components else 1)
    for owner, template in versions.items():
        (api,) = containers(template)
        (mount,) = (item for item in api["volumeMounts"] if item["name"] == "api-keys")
        assert settings["VALENCE_API_KEYS_FILE"] == f"{mount['mountPath']}/keys", owner
        assert mount["readOnly"] is True
        assert "subPath" not in mount
        (volume,) = (item for item in template["spec"]["volumes"] if item["name"] == "api-keys")
        assert volume["secret"] == {"secretName": "valence-api-keys"}


def test_without_the_component_there_is_no_key() -> None:
    """Nothing of it is left in the base."""
    assert "VALENCE_API_KEYS_FILE" not in str(base_with())


def denied(policy: Object, method: str, path: str, port: str = "8000") -> bool:
    """Whether the policy denies a request without a token; a rule denies what all its fields fit."""
    return any(
        rule["from"] == [{"source": {"notRequestPrincipals": ["*"]}}] and fits(item["operation"], method, path, port)
        for rule in policy["spec"]["rules"]
        for item in rule["to"]
    )


def fits(operation: dict[str, Any], method: str, path: str, port: str) -> bool:
    """Istio's `operation`, as far as the policy uses it."""

    def one_of(patterns: list[str], value: str) -> bool:
        return any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), value) for pattern in patterns)

    asked = {"Paths": path, "Methods": method, "Ports": port}
    for name, value in asked.items():
        if name.lower() in operation and not one_of(operation[name.lower()], value):
            return False
        if f"not{name}" in operation and one_of(operation[f"not{name}"], value):
            return False
    assert set(operation) <= {name.lower() for name in asked} | {f"not{name}" for name in asked}
    return True


def test_without_a_token_only_what_tells_nothing() -> None:
    """The same as without a key, as far as it is public; metrics have a port of their own, whose policy stays."""
    policy = named(base_with("istio", "auth"), "AuthorizationPolicy", "valence-needs-token")
    assert policy["spec"]["action"] == "DENY"
    public = {path if path != STATIC else STATIC + "page.js" for path in PUBLIC}
    for method in ("GET", "HEAD"):
        assert {path for path in public if denied(policy, method, path)} == NEEDS_TOKEN
    assert all(denied(policy, "POST", path) for path in (*public, "/v2/models/x/infer", "/unknown"))
    assert denied(policy, "GET", "/v2/models/x")
    assert not denied(policy, "GET", "/metrics", port="9090")
