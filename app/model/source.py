"""Where a model package lies: in a folder, or under a name from which it is fetched.

    build/package               a folder
    models:/NAME@champion       a version of a registered model (MLflow), by its alias
    models:/NAME/3              the same by its number
    runs:/ID/package            what a run of the export left in MLflow
    hf://OWNER/NAME@REVISION    a package on the Hugging Face hub

What is fetched is kept in a cache folder under the SHA-256 of its manifest, which names that of every other file:

    packages/SHA256/            a package, whole or absent
    names/NAME                  a link to the package that the name meant last

A process of its own does the fetching (app/model/download.py): its libraries take 100 MB and start threads, which
gunicorn must not have before it forks, and it can be given limits.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from app.errors import PackageError, one_line

MODULE = "app.model.download"
ROOT = Path(__file__).resolve().parents[2]
"""The folder in which `app` lies."""
FETCH_SECONDS = 600
"""Time to fetch a package, all tries together."""
KEPT_PACKAGES = 8
"""Packages in the cache folder; those that were asked for longest ago make room."""
STALE_SECONDS = 2 * FETCH_SECONDS
"""Age at which a half-fetched package is nobody's any more."""
SCHEMES = ("models:", "runs:", "hf:")


@dataclass(frozen=True)
class Fetched:
    """A folder that holds a package, and for one that was fetched: its name, and why an older copy has to do."""

    folder: Path
    name: str | None = None
    stale: str | None = None
    """Why its source could not be asked, where it could not be; None: the copy is what the name means now."""


_fetched: dict[tuple[str, Path], Fetched] = {}
"""By name and cache, what this process or the one that it was forked from has fetched."""


def fetched(name: str, cache: Path, *, anew: bool = False) -> Fetched:
    """As `look_up`, but asks once in the life of this process and of those that it forks, or `anew`.

    So that gunicorn's workers, also those that replace others, all serve what their parent has fetched. What was known
    stays known where asking anew raises PackageError.
    """
    if anew or (name, cache) not in _fetched:
        _fetched[name, cache] = look_up(name, cache)
    return _fetched[name, cache]


def look_up(name: str, cache: Path) -> Fetched:
    """Where the package `name` lies, which is fetched into `cache` unless it is a folder or already there.

    Blocks for up to `FETCH_SECONDS`; several processes may do it at once. A source that can't be reached is no fault
    when the cache holds what the name meant last. Raises PackageError for a name of no kind, one that its source does
    not know, a package that is not what its manifest says, or no answer.
    """
    if not name.startswith(SCHEMES) and "://" not in name:
        return Fetched(Path(name))
    names, packages = _folders(cache)
    link = names / quote(name, safe="@")
    answer = _ask(name, packages)
    if "refused" in answer:
        raise PackageError(f"{name}: {answer['refused']}")
    if reason := answer.get("unreachable"):
        if not link.exists():
            raise PackageError(f"{name}: {reason}; the cache {cache} has no copy of it")
        _used(link.resolve())
        return Fetched(link.resolve(), name, reason)
    folder = packages / answer["digest"]
    _used(folder)
    _point(link, folder)
    _make_room(names, packages)
    return Fetched(folder, name)


def _folders(cache: Path) -> tuple[Path, Path]:
    """The two folders in the cache, made where they are missing, for nobody but this user."""
    try:
        root = cache.expanduser().absolute()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        names, packages = root / "names", root / "packages"
        names.mkdir(exist_ok=True)
        packages.mkdir(exist_ok=True)
    except (OSError, RuntimeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise PackageError(f"VALENCE_MODEL_CACHE_DIR={str(cache)!r} can't be written: {reason}") from exc
    return names, packages


def _ask(name: str, packages: Path) -> dict[str, str]:
    """Have the package fetched; {"digest": ...}, {"refused": ...} or {"unreachable": ...}.

    By what it says and not by its exit status: gunicorn's parent may have taken that.
    """
    command = [sys.executable, "-m", MODULE, name, str(packages)]
    try:
        process = subprocess.run(  # noqa: S603 - our own module
            command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=FETCH_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"unreachable": f"not fetched within {FETCH_SECONDS} s"}
    lines = process.stdout.decode(errors="replace").splitlines()
    try:
        answer: dict[str, str] = json.loads(lines[-1])
    except (IndexError, ValueError):
        last = (process.stderr.decode(errors="replace").strip().splitlines() or ["without a word"])[-1]
        return {"refused": f"{MODULE} failed: {one_line(Exception(last))}"}
    return answer


def _used(folder: Path) -> None:
    """Let it be the last to make room; a cache that can't be written keeps what it has anyway."""
    with suppress(OSError):
        os.utime(folder)


def _point(link: Path, folder: Path) -> None:
    """Have `link` lead to `folder`, whatever it led to before, without a moment in which it leads nowhere."""
    fresh = link.with_name(f".{uuid4().hex}.tmp")
    fresh.symlink_to(Path("..", "packages", folder.name))
    fresh.replace(link)


def _make_room(names: Path, packages: Path) -> None:
    """Remove packages beyond `KEPT_PACKAGES`, names that lead nowhere, and what processes that were killed left."""
    with suppress(OSError):  # another process makes room at the same time
        by_age = sorted(packages.glob("[!.]*"), key=lambda path: path.stat().st_mtime, reverse=True)
        dead = [path for path in packages.glob(".*") if path.stat().st_mtime < time.time() - STALE_SECONDS]
        for folder in by_age[KEPT_PACKAGES:] + dead:
            shutil.rmtree(folder, ignore_errors=True)
        for link in names.iterdir():
            if not link.exists():
                link.unlink(missing_ok=True)
