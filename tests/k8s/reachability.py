"""NetworkPolicies, judged as a network plugin would: who may open a connection to which port."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from tests.k8s.rendering import Object, containers, of_kind, selects

NAMESPACE = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Peer:
    """A pod, of ours or elsewhere: its namespace (None: ours) and its labels; or what is no pod, by its address."""

    labels: dict[str, str]
    namespace: str | None = None
    ports: dict[str, int] = field(default_factory=dict)
    address: str = ""

    @classmethod
    def of(cls, template: Object) -> "Peer":
        """A pod of ours."""
        ports = {port["name"]: port["containerPort"] for item in containers(template) for port in item.get("ports", [])}
        return cls(template["metadata"]["labels"], None, ports)


def may_connect(objects: list[Object], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether both sides let it through: the source's egress and the target's ingress, where they are ours."""

    def allowed(subject: Peer, peer: Peer, direction: str) -> bool:
        return subject.namespace is not None or any(
            _peer_matches(rule.get("from", rule.get("to")), peer)
            and _port_matches(rule.get("ports"), target, port, protocol)
            for rule in _rules(objects, subject, direction)
        )

    return allowed(source, target, "egress") and allowed(target, source, "ingress")


def _rules(objects: list[Object], subject: Peer, direction: str) -> Iterator[Object]:
    """The rules of every policy that is about this pod; one that allows everything where there is no such policy."""
    policies = list(_policies(objects, subject, direction))
    if not policies:
        yield {}
    for policy in policies:
        yield from policy["spec"].get(direction, [])


def _policies(objects: list[Object], subject: Peer, direction: str) -> Iterator[Object]:
    for policy in of_kind(objects, "NetworkPolicy"):
        chosen = selects(policy["spec"]["podSelector"].get("matchLabels", {}), subject.labels)
        if chosen and direction.capitalize() in policy["spec"]["policyTypes"]:
            yield policy


def _peer_matches(peers: list[Object] | None, peer: Peer) -> bool:
    return peers is None or any(_one_peer_matches(item, peer) for item in peers)


def _one_peer_matches(item: Object, peer: Peer) -> bool:
    if "ipBlock" in item or peer.address:
        block = item.get("ipBlock", {}).get("cidr")
        return bool(block and peer.address) and ip_address(peer.address) in ip_network(block)
    wanted = item.get("namespaceSelector", {}).get("matchLabels", {})
    if wanted != ({NAMESPACE: peer.namespace} if peer.namespace else {}):
        return False
    return selects(item.get("podSelector", {}).get("matchLabels", {}), peer.labels)


def _port_matches(ports: list[Object] | None, listener: Peer, number: int, protocol: str) -> bool:
    return ports is None or any(
        item["protocol"] == protocol and listener.ports.get(item["port"], item["port"]) == number for item in ports
    )
