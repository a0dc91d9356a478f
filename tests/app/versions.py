"""Another version of the bundled package, and how to ask a service for it."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx

from app.settings import BUNDLED_MODEL
from tests.app import plain_http
from tests.conftest import Service

TOKEN = "x" * 24
OTHER = "distilbert-sst2-mini-2"
"""The name of the other version."""


def swapped_labels(folder: Path, **changes: Any) -> Path:
    """A package in `folder` that calls positive what the bundled one calls negative, of another name and digest."""
    shutil.copytree(BUNDLED_MODEL, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    first, second = manifest["labels"]
    swapped = [
        {"text": item["text"], "scores": {first: item["scores"][second], second: item["scores"][first]}}
        for item in manifest["golden"]
    ]
    manifest |= {"name": OTHER, "labels": [second, first], "golden": swapped, "max_windows": 2}
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    return folder


def load(service: Service, model: object, token: str = TOKEN, path: str = "/model/load") -> httpx.Response:
    """Ask for another model on the operations port."""
    url = service.metrics_url.removesuffix("/metrics") + path
    return plain_http.post(url, json={"model": str(model)}, headers={"Authorization": f"Bearer {token}"})
