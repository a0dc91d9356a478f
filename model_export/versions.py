"""Versions of the tools that shaped a package's files, for its manifest."""

import platform
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from model_export.errors import ExportError


def tool_versions(tools: Sequence[str]) -> dict[str, str]:
    """Python's, those of `tools`, and our own."""
    versions = {"python": platform.python_version()}
    versions |= {tool: metadata.version(tool) for tool in tools}
    return versions | {"valence": _own_version()}


def _own_version() -> str:
    """From pyproject.toml: this project is run from its checkout and never installed, so it has no metadata."""
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
    try:
        version = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    except FileNotFoundError as exc:
        raise ExportError("run model_export from a checkout of the project: pyproject.toml is missing") from exc
    return str(version)
