"""docker-compose.yml as its tests read it, with every variable at its default."""

import json
import re
from importlib import resources
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::-([^}]*))?\}")
Node = dict[str, Any]

TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def interpolated() -> Node:
    """The file as `docker compose config` would read it where nobody has set a variable."""
    read: Node = yaml.safe_load(VARIABLE.sub(lambda match: match[2] or "", TEXT).replace("$$", "$"))
    return read


COMPOSE = interpolated()
SERVICES: dict[str, Node] = COMPOSE["services"]


def schema() -> Node:
    """The JSON schema of the Compose specification, as check-jsonschema carries it."""
    check_jsonschema = pytest.importorskip("check_jsonschema", reason="check-jsonschema carries the schema")
    file = resources.files(check_jsonschema) / "builtin_schemas" / "vendor" / "compose-spec.json"
    found: Node = json.loads(file.read_text(encoding="utf-8"))
    return found


def mounts(service: Node) -> list[tuple[str, str]]:
    """(source, target) of everything that is mounted, named volumes included."""
    return [(parts[0], parts[1]) for parts in (volume.split(":") for volume in service.get("volumes", []))]


def host_path(service: Node, path: str) -> str | None:
    """Where in the repository the file lies that the container sees at `path`; None when it is not mounted."""
    for source, target in mounts(service):
        if source.startswith("./") and (path == target or path.startswith(f"{target}/")):
            return source[2:] + path.removeprefix(target)
    return None
