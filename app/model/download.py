"""Fetches one model package: `python -m app.model.download NAME FOLDER`, which app/model/source.py starts.

The package comes to FOLDER/SHA256, after its manifest. Prints one line of JSON: {"digest": that SHA-256}, or why not,
{"refused": ...} or {"unreachable": ...}. Where to ask, and as whom, the libraries' own variables say, such as
MLFLOW_TRACKING_URI and HF_TOKEN.

No server is believed: the manifest names the files with their sizes and digests, nothing else is fetched, the kernel
ends a file that grows beyond its size, and no name leads out of the package's folder.
"""

import errno
import hashlib
import json
import os
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from app.errors import PackageError, one_line
from app.model.files import FileFacts, check_file
from app.model.package import Package

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20
MAX_PACKAGE_BYTES = 2 << 30
"""An export ends at 2 GB of fp32, and its package has a quarter of that."""
MAX_FILES = 64
SPARE_BYTES = 1 << 16
"""What a library may note beside a file that it fetches."""
PACKAGE_IN_MODEL = "artifacts/package"
"""Where model_export/registry.py puts the package of a registered model."""
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own patience is 7 tries of 120 s each
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",  # has a cache of its own, of which nobody knows
}
"""How the libraries behave unless the user says otherwise."""
NAMES = {
    "models:/NAME@ALIAS or models:/NAME/VERSION": re.compile(
        r"models:/(?P<model>\w[\w .-]{0,199})(@(?P<alias>\w[\w.-]{0,99})|/(?P<version>\d{1,9}))", re.ASCII
    ),
    "runs:/ID/FOLDER": re.compile(r"runs:/(?P<run>[0-9a-f]{32})(?P<path>(/\w[\w.-]{0,99}){1,8})", re.ASCII),
    "hf://OWNER/NAME@REVISION": re.compile(
        r"hf://(?P<repository>\w[\w.-]{0,99}/\w[\w.-]{0,99})@(?P<revision>\w[\w.-]{0,99}(/\w[\w.-]{0,99}){0,3})",
        re.ASCII,
    ),
}
SERVER_ERRORS = 500
TOO_MANY_REQUESTS = 429


class Source(NamedTuple):
    """Where a package lies: what fetches a file of it into a folder, and its digest, where that is known."""

    get: Callable[[str, Path], None]
    digest: str | None = None


class _Listed(BaseModel):
    """Of a manifest, what has to be fetched."""

    files: dict[Annotated[str, StringConstraints(pattern=r"^\w[\w.-]{0,99}$")], FileFacts] = Field(max_length=MAX_FILES)


def download(name: str, packages: Path) -> str:
    """Fetch the package `name` to a folder in `packages`; returns that folder's name. Raises PackageError, and others.

    What lies there already is fetched again only if it is not what its manifest says.
    """
    source = _find(name)
    with _scratch(packages) as folder:
        with _limited(MAX_MANIFEST_BYTES):
            source.get(MANIFEST, folder)
        manifest = (folder / MANIFEST).read_bytes()
        sha256 = hashlib.sha256(manifest).hexdigest()
        files = _listed(manifest)
        if not _is_whole(packages / sha256, files):
            for file, facts in files.items():
                _get(source, file, facts, folder)
            _publish(folder, packages / sha256, [MANIFEST, *files])
    found = Package(packages / sha256).digest
    if source.digest not in (None, found):
        raise PackageError(f"its digest is {found[:16]}, the registry says {source.digest}")
    return sha256


def _find(name: str) -> Source:
    matches = [match for pattern in NAMES.values() if (match := pattern.fullmatch(name))]
    if not matches:
        raise PackageError(f"is no name of a package: neither a folder nor {', '.join(NAMES)}")
    parts = matches[0].groupdict()
    if "repository" in parts:
        return _on_hub(parts["repository"], parts["revision"])
    if "MLFLOW_TRACKING_URI" not in os.environ:
        raise PackageError("MLFLOW_TRACKING_URI should name the server of MLflow")
    mlflow = _library("mlflow", "mlflow-skinny")
    client = mlflow.MlflowClient()
    if "run" in parts:
        return Source(_artifacts(mlflow, client.get_run(parts["run"]).info.artifact_uri + parts["path"]))
    if parts["alias"]:
        version = client.get_model_version_by_alias(parts["model"], parts["alias"])
    else:
        version = client.get_model_version(parts["model"], parts["version"])
    uri = f"models:/{version.name}/{version.version}/{PACKAGE_IN_MODEL}"
    return Source(_artifacts(mlflow, uri), version.tags.get("digest"))


def _artifacts(mlflow: Any, uri: str) -> Callable[[str, Path], None]:
    # Asked for first, since MLflow does not tell a missing file from a server that is down.
    if MANIFEST not in {Path(item.path).name for item in mlflow.artifacts.list_artifacts(artifact_uri=uri)}:
        raise PackageError(f"there is no {MANIFEST} at {uri}")

    def get(file: str, folder: Path) -> None:
        found = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{uri}/{file}", dst_path=str(folder)))
        found.replace(folder / file)

    return get


def _on_hub(repository: str, revision: str) -> Source:
    hub = _library("huggingface_hub", "huggingface-hub")
    # A branch may move between two files.
    commit = hub.HfApi().model_info(repository, revision=revision, timeout=10.0).sha

    def get(file: str, folder: Path) -> None:
        hub.hf_hub_download(repository, file, revision=commit, local_dir=folder)

    return Source(get)


def _library(module: str, project: str) -> Any:
    """By name: it is an extra, and a type checker need not find it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        raise PackageError(f"{project} is missing: install the extra `registry` of pyproject.toml") from exc


def _listed(manifest: bytes) -> dict[str, FileFacts]:
    """The files that a manifest names. Raises PackageError for names, numbers or sizes beyond the bounds."""
    try:
        files = _Listed.model_validate_json(manifest).files
    except ValidationError as exc:
        error = exc.errors()[0]
        raise PackageError(f"{MANIFEST}: {'.'.join(map(str, error['loc']))}: {error['msg']}") from exc
    sizes = [facts.bytes for facts in files.values()]
    if min(sizes, default=0) < 0 or sum(sizes) > MAX_PACKAGE_BYTES:
        raise PackageError(f"{MANIFEST}: its files have {sum(sizes)} bytes (allowed: 0 to {MAX_PACKAGE_BYTES})")
    return files


def _get(source: Source, file: str, facts: FileFacts, folder: Path) -> None:
    try:
        with _limited(facts.bytes + SPARE_BYTES):
            source.get(file, folder)
    except Exception as exc:
        if os.strerror(errno.EFBIG) in str(exc):
            raise PackageError(f"{file} has more than the {facts.bytes} bytes of which {MANIFEST} speaks") from exc
        raise
    check_file(folder / file, facts)


def _is_whole(folder: Path, files: dict[str, FileFacts]) -> bool:
    """Whether the files of a package lie in the cache as they should."""
    try:
        for file, facts in files.items():
            check_file(folder / file, facts)
    except PackageError:
        return False
    return (folder / MANIFEST).is_file()


def _publish(fetched: Path, place: Path, files: Sequence[str]) -> None:
    """Move the files to `place` at once; what another process has put there meanwhile is as good."""
    whole = fetched / "whole"
    whole.mkdir()
    for file in files:
        (fetched / file).rename(whole / file)
    if place.exists():  # and not whole
        place.rename(fetched / "broken")
    try:
        whole.rename(place)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


@contextmanager
def _scratch(packages: Path) -> Iterator[Path]:
    """A folder on the same file system, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=packages))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _limited(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: writing more fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = size if before[1] == resource.RLIM_INFINITY else min(size, before[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _unreachable(exc: Exception) -> bool:
    """Whether another time may go better: no answer, or one that blames the server."""
    if hasattr(exc, "get_http_status_code"):  # MLflow's
        status = exc.get_http_status_code()
    else:  # of requests and the hub
        answer = getattr(exc, "response", None)
        status = SERVER_ERRORS * isinstance(exc, OSError) if answer is None else answer.status_code
    return bool(status >= SERVER_ERRORS or status == TOO_MANY_REQUESTS)


def main(arguments: Sequence[str]) -> None:
    """Run from the command line with a name and a folder."""
    for variable, value in PATIENCE.items():
        os.environ.setdefault(variable, value)
    name, packages = arguments
    try:
        answer = {"digest": download(name, Path(packages))}
    except PackageError as exc:
        answer = {"refused": str(exc)}
    except Exception as exc:
        answer = {"unreachable" if _unreachable(exc) else "refused": one_line(exc)}
    sys.stdout.write(f"{json.dumps(answer)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
