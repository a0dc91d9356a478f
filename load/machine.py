"""The machine and the versions: without them figures mean nothing."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from load.programs import ROOT

LIBRARIES = (
    "fastapi",
    "gunicorn",
    "onnxruntime",
    "redis",
    "starlette",
    "tokenizers",
    "uvicorn",
    "uvloop",
    "k6",
    "locust",
)


def describe_machine(model_dir: Path = ROOT / "models" / "distilbert-sst2-mini") -> dict[str, object]:
    """CPU, cores that we may use, Python, library versions and the model package."""
    manifest = json.loads((model_dir / "manifest.json").read_text(encoding="utf-8"))
    files = manifest["files"]
    weights = files.get("weights.safetensors", files["model.onnx"])  # two models may have the same graph beside theirs
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
        "model": {"name": manifest["name"], "sha256": weights["sha256"]},
    }


def cpu_name() -> str:
    """The CPU's model name, or its architecture where there is none."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_json(file: Path | None, report: Mapping[str, object]) -> None:
    """What a measurement found, for other programs; nothing without a file."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
