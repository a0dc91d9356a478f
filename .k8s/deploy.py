#!/usr/bin/env python3
"""Make a namespace hold what an overlay renders and nothing more of ours: `python3 .k8s/deploy.py prod`.

`kubectl apply` adds and changes, but leaves what an overlay no longer has. Here that goes, too: whatever carries our
label, was applied by kubectl and is not rendered any more. ConfigMaps and Secrets that an earlier revision of a
Deployment mounts stay as long as `kubectl rollout undo` could need them.

Needs Python 3.11 and kubectl alone. Not `kubectl apply --prune`: with an ApplySet it takes those ConfigMaps away while
old pods still start from them, by label it wants each kind named and installed, and both are alpha.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

OVERLAYS = Path(__file__).resolve().parent / "overlays"
LABEL, VALUE = "app.kubernetes.io/part-of", "valence"
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
SCALERS = ("HorizontalPodAutoscaler", "ScaledObject")
"""Go before their successor comes: KEDA refuses a Deployment that has an HPA."""
LAST = ("Deployment", "Service", "ServiceAccount", "ConfigMap", "Secret")
"""Go after the routes that lead to them."""

Object = dict[str, Any]


def kubectl(*arguments: str, capture: bool = False, check: bool = True) -> str:
    """Run it, and return what it prints if that is captured. Ends the program with kubectl's status when it fails."""
    pipe = subprocess.PIPE if capture else None
    done = subprocess.run(["kubectl", *arguments], stdout=pipe, text=True, check=False)  # noqa: S603, S607
    if check and done.returncode:
        sys.exit(done.returncode)
    return done.stdout or ""


def rendered(overlay: Path) -> list[Object]:
    """What the overlay renders, object by object: `apply` would print those of the cluster where they are there."""
    text = kubectl("create", "--dry-run=client", "--kustomize", str(overlay), "--output", "json", capture=True).strip()
    found = []
    while text:
        thing, end = json.JSONDecoder().raw_decode(text)
        found.append(thing)
        text = text[end:].lstrip()
    return found


def live(*arguments: str) -> list[Object]:
    """The objects that `kubectl get` finds."""
    found: list[Object] = json.loads(kubectl("get", *arguments, "--output", "json", capture=True))["items"]
    return found


def identity(thing: Object) -> tuple[str, str, str]:
    """(group, kind, name): whatever version of its group an object is read by, it is the same one."""
    return thing["apiVersion"].rpartition("/")[0], thing["kind"], thing["metadata"]["name"]


def namespace_of(objects: list[Object]) -> str:
    """The one namespace of the rendered objects. Ends the program if there are several, or if a label is missing."""
    inside = [thing for thing in objects if "namespace" in thing["metadata"]]
    unlabelled = [identity(thing) for thing in inside if thing["metadata"].get("labels", {}).get(LABEL) != VALUE]
    if unlabelled:
        sys.exit(f"error: without the label {LABEL}={VALUE} these could never be taken away again: {unlabelled}")
    namespaces = {thing["metadata"]["namespace"] for thing in inside}
    if len(namespaces) != 1:
        sys.exit(f"error: an overlay has one namespace, this one has {sorted(namespaces)}")
    return str(namespaces.pop())


def labelled(namespace: str) -> list[Object]:
    """Every object with our label that `kubectl apply` made, of every kind that the cluster knows."""
    # An API service that is down makes kubectl fail after it has printed all others; none of our kinds comes from one.
    listed = ("api-resources", "--namespaced", "--verbs", "list,delete", "--output", "name")
    kinds = kubectl(*listed, capture=True, check=False).split()
    found = live(",".join(sorted(kinds)), "--namespace", namespace, "--selector", f"{LABEL}={VALUE}")
    return [
        thing
        for thing in found
        if APPLIED in thing["metadata"].get("annotations", {}) and "ownerReferences" not in thing["metadata"]
    ]


def needed_to_undo(thing: Object, replica_sets: list[Object], objects: list[Object]) -> bool:
    """Whether a revision of a Deployment that stays, an old one or the present, names this ConfigMap or Secret."""
    staying = {name for _, kind, name in map(identity, objects) if kind == "Deployment"}
    templates = [
        json.dumps(item["spec"]["template"])
        for item in replica_sets
        if {owner["name"] for owner in item["metadata"].get("ownerReferences", [])} & staying
    ]
    return thing["kind"] in ("ConfigMap", "Secret") and any(
        f'"{thing["metadata"]["name"]}"' in template for template in templates
    )


def delete(things: list[Object], namespace: str) -> None:
    """Delete them, routes before what they lead to, and wait until they are gone."""
    for thing in sorted(things, key=lambda thing: LAST.index(thing["kind"]) if thing["kind"] in LAST else -1):
        group, kind, name = identity(thing)
        resource = f"{kind}.{thing['apiVersion'].rpartition('/')[2]}.{group}" if group else kind
        kubectl("delete", f"{resource}/{name}", "--namespace", namespace, "--ignore-not-found")


def deploy(overlay: Path) -> None:
    """Apply the overlay, take away what it no longer has, and wait until its Deployments are ready."""
    objects = rendered(overlay)
    namespace = namespace_of(objects)
    wanted = set(map(identity, objects))
    replica_sets = live("replicasets.apps", "--namespace", namespace)
    stale = [
        thing
        for thing in labelled(namespace)
        if identity(thing) not in wanted and not needed_to_undo(thing, replica_sets, objects)
    ]
    delete([thing for thing in stale if thing["kind"] in SCALERS], namespace)
    kubectl("apply", "--kustomize", str(overlay))
    delete([thing for thing in stale if thing["kind"] not in SCALERS], namespace)
    selected = ("--selector", f"{LABEL}={VALUE}", "--namespace", namespace)
    kubectl("rollout", "status", "deployment", "--timeout", "5m", *selected)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="deploy.py", description="Make a namespace hold what an overlay renders.")
    parser.add_argument("overlay", choices=sorted(file.parent.name for file in OVERLAYS.glob("*/kustomization.yaml")))
    deploy(OVERLAYS / parser.parse_args().overlay)
