"""What the world may ask: the same in the mesh's policy and in all three kinds of route."""

from tests.k8s.rendering import base_with, named

PREFIXES = {"/static/", "/v2/"}
PUBLIC = {"/", "/predict", "/health", "/model/info", "/docs", "/openapi.json", "/info", "/v2", *PREFIXES}
"""The page, what it needs, and the API by every protocol. Not the probes, nor `/metrics/summary`: how busy we are is
ours to know."""


def test_policy_and_routes_let_out_the_same() -> None:
    """Nothing is allowed that has no route, nothing routed that is forbidden, and no metrics at all."""
    mesh = base_with("istio")
    (ingress,) = named(mesh, "AuthorizationPolicy", "valence-from-ingress")["spec"]["rules"]
    allowed = {path.removesuffix("*") for item in ingress["to"] for path in item["operation"]["paths"]}
    matches = [
        match["uri"] for route in named(mesh, "VirtualService", "valence")["spec"]["http"] for match in route["match"]
    ]
    (rule,) = named(base_with("gateway-api"), "HTTPRoute", "valence")["spec"]["rules"]
    (host,) = named(base_with("ingress"), "Ingress", "valence")["spec"]["rules"]
    plain = {(path["path"], path["pathType"]) for path in host["http"]["paths"]}
    assert allowed == PUBLIC
    assert plain == {(path, "Prefix" if path in PREFIXES else "Exact") for path in PUBLIC}
    assert {path for uri in matches for path in uri.values()} == PUBLIC
    assert {match["path"]["value"] for match in rule["matches"]} == PUBLIC
    prefixes = [uri["prefix"] for uri in matches if "prefix" in uri]
    assert set(prefixes) == PREFIXES  # any other prefix would let out more than it names
