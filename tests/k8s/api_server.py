"""As much of a Kubernetes API server as kubectl needs to apply, list and delete: real HTTP, objects in memory.

Beside what it is given it does what a deployment must not stumble over: a ReplicaSet for each revision of a Deployment,
Endpoints with the labels of their Service, and KEDA's refusal of a Deployment that has an HPA already.
"""

import json
import threading
from collections.abc import Iterable
from copy import deepcopy
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.k8s.rendering import Object

APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
CLUSTER_SCOPED = ("Namespace",)
OWN_KINDS = (("apps/v1", "ReplicaSet"), ("v1", "Endpoints"))


def plural(kind: str) -> str:
    """The resource of a kind, by the rules that the kinds in use here follow."""
    name = kind.lower()
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    if name == "endpoints":
        return name
    return name + ("es" if name.endswith("s") else "s")


class ApiServer:
    """Answers on 127.0.0.1 while the `with` block lasts; knows the (apiVersion, kind) pairs that it is given."""

    def __init__(self, kinds: Iterable[tuple[str, str]]) -> None:
        self.kinds = sorted({*kinds, *OWN_KINDS})
        self.objects: dict[str, Object] = {}
        """Path of the object -> the object."""
        self.refused: set[str] = set()
        """Kinds of which no more are taken."""
        server = self

        class Handler(_Handler):
            api = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def kubeconfig(self, folder: Path) -> Path:
        """A file that leads kubectl here."""
        file = folder / "kubeconfig"
        cluster = {"server": f"http://127.0.0.1:{self._http.server_port}"}
        context = {"cluster": "here", "user": "me"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": context}],
            "current-context": "here",
        }
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return file

    def applied(self) -> dict[str, Object]:
        """Path -> what was last applied there, of every object that kubectl applied."""
        notes = {
            path: thing["metadata"].get("annotations", {}).get(APPLIED)
            for path, thing in self.objects.items()
            if "ownerReferences" not in thing["metadata"]
        }
        return {path: json.loads(note) for path, note in notes.items() if note}

    def store(self, path: str, thing: Object) -> None:
        """Keep it, and do what controllers do about it."""
        before = self.objects.get(path, {"metadata": {}})["metadata"]
        thing["metadata"] |= {"uid": path, "resourceVersion": "1", "generation": before.get("generation", 0) + 1}
        self.objects[path] = thing
        parent, _, name = path.rpartition("/")
        if thing["kind"] == "Deployment":
            template = thing["spec"]["template"]
            revision = f"{name}-{abs(hash(json.dumps(template, sort_keys=True)))}"
            owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": path}
            self.objects[f"{parent.rpartition('/')[0]}/replicasets/{revision}"] = {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": revision,
                    "labels": template["metadata"]["labels"],
                    "ownerReferences": [owner],
                    "annotations": thing["metadata"]["annotations"],
                },
                "spec": {"template": template},
            }
            generation = thing["metadata"]["generation"]
            count = thing["spec"].setdefault("replicas", 1)
            counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count)
            thing["status"] = {"observedGeneration": generation, **counts}
        if thing["kind"] == "Service":
            metadata = {"name": name, "labels": thing["metadata"].get("labels", {})}
            endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
            self.objects[f"{parent.rpartition('/')[0]}/endpoints/{name}"] = endpoints

    def refusal(self, thing: Object) -> str | None:
        """What an admission webhook says: KEDA's own, or one that takes no more of this kind."""
        kinds = {item["kind"] for item in self.objects.values()}
        if thing["kind"] == "ScaledObject" and "HorizontalPodAutoscaler" in kinds:
            return "the workload is already managed by the hpa valence"
        return "no more of these" if thing["kind"] in self.refused else None

    def remove(self, path: str) -> Object | None:
        """Forget it, and what it owns."""
        gone = self.objects.pop(path, None)
        for other in [key for key, thing in self.objects.items() if _owned_by(thing, path)]:
            del self.objects[other]
        return gone

    def discovery(self, path: str) -> Object | None:
        """The answers to /api, /apis and below, and to /openapi/v3."""
        groups = sorted({version for version, _ in self.kinds})
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": _groups(groups)}
        if path == "/openapi/v3":
            return {"paths": {_prefix(v)[1:]: {"serverRelativeURL": f"/openapi/v3{_prefix(v)}"} for v in groups}}
        for version in groups:
            kinds = [kind for owner, kind in self.kinds if owner == version]
            if path == _prefix(version):
                resources = [_resource(kind) for kind in kinds]
                return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
            if path == f"/openapi/v3{_prefix(version)}":
                return {"openapi": "3.0.0", "paths": dict(_openapi(version, kind) for kind in kinds)}
        return None

    def listing(self, path: str, query: dict[str, list[str]]) -> Object:
        """The objects directly below a path that a selector leaves."""
        found = [thing for key, thing in self.objects.items() if key.rpartition("/")[0] == path]
        for wanted in query.get("labelSelector", []):
            label, _, value = wanted.partition("=")
            found = [thing for thing in found if thing["metadata"].get("labels", {}).get(label) == value]
        for wanted in query.get("fieldSelector", []):
            found = [thing for thing in found if thing["metadata"]["name"] == wanted.partition("=")[2]]
        return {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": deepcopy(found)}


class _Handler(BaseHTTPRequestHandler):
    api: ApiServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        kinds = {plural(kind) for _, kind in self.api.kinds}
        thing = self.api.discovery(address.path) or self.api.objects.get(address.path)
        if thing is None and address.path.rpartition("/")[2] in kinds:
            thing = {} if "watch" in query else self.api.listing(address.path, query)
        self._answer(thing)

    def do_POST(self) -> None:
        thing = self._body()
        refusal = self.api.refusal(thing)
        if refusal:
            self._answer(_status(HTTPStatus.FORBIDDEN, refusal), HTTPStatus.FORBIDDEN)
            return
        self.api.store(f"{urlsplit(self.path).path}/{thing['metadata']['name']}", thing)
        self._answer(thing, HTTPStatus.CREATED)

    def do_PATCH(self) -> None:
        """The annotation of `kubectl apply` holds the whole object: that becomes the object; without it all stays."""
        path = urlsplit(self.path).path
        note = self._body().get("metadata", {}).get("annotations", {}).get(APPLIED)
        if note:
            thing = json.loads(note)
            thing["metadata"].setdefault("annotations", {})[APPLIED] = note
            self.api.store(path, thing)
        self._answer(self.api.objects.get(path))

    def do_DELETE(self) -> None:
        self._body()
        gone = self.api.remove(urlsplit(self.path).path)
        self._answer(gone and _status(HTTPStatus.OK, "gone"))

    def log_message(self, *_: object) -> None:
        """Nothing: a failing test shows what kubectl said."""

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")

    def _answer(self, thing: Object | None, status: HTTPStatus = HTTPStatus.OK) -> None:
        if thing is None:
            status = HTTPStatus.NOT_FOUND
            thing = _status(status, self.path)
        body = json.dumps(thing).encode() if thing else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _prefix(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _groups(versions: list[str]) -> list[Object]:
    names = sorted({version.rpartition("/")[0] for version in versions if "/" in version})
    served = {name: [version for version in versions if version.rpartition("/")[0] == name] for name in names}
    entries = {
        name: [{"groupVersion": version, "version": version.rpartition("/")[2]} for version in of_group]
        for name, of_group in served.items()
    }
    return [{"name": name, "versions": entry, "preferredVersion": entry[0]} for name, entry in entries.items()]


def _resource(kind: str) -> Object:
    verbs = ["create", "delete", "get", "list", "patch", "watch"]
    return {"name": plural(kind), "kind": kind, "namespaced": kind not in CLUSTER_SCOPED, "verbs": verbs}


def _openapi(version: str, kind: str) -> tuple[str, Object]:
    """Only what tells kubectl that the server validates fields by itself."""
    group, _, number = version.rpartition("/")
    patch = {
        "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind},
        "x-kubernetes-action": "patch",
        "parameters": [{"name": "fieldValidation", "in": "query"}],
    }
    return f"{_prefix(version)}/namespaces/{{namespace}}/{plural(kind)}/{{name}}", {"patch": patch}


def _owned_by(thing: Object, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in thing["metadata"].get("ownerReferences", []))


def _status(code: HTTPStatus, message: str) -> Object:
    reason = {HTTPStatus.NOT_FOUND: "NotFound", HTTPStatus.FORBIDDEN: "Forbidden"}.get(code, "")
    outcome = "Success" if code < HTTPStatus.BAD_REQUEST else "Failure"
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": outcome,
        "code": int(code),
        "reason": reason,
        "message": message,
    }
