"""Real pods from the real image and the rendered manifests.

Takes minutes, root, podman and the tools in ../shared/tools/cluster (or where CLUSTER_TOOLS says), so it runs only when
it is named: `make e2e`.
"""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.stack import TOOLS, Stack, command, with_redis_password
from tests.k8s.rendering import overlay

IMAGE = os.environ.get("IMAGE", "localhost/valence:dev")


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave this folder out unless an argument names it."""
    return None if any("e2e" in argument for argument in config.args) else True


@pytest.fixture(scope="session", autouse=True)
def _pods_can_run() -> None:
    """Skip everything, with the reason, where no pods can be started."""
    if os.geteuid() != 0:
        pytest.skip("starting pods needs root")
    if not TOOLS.is_dir():
        pytest.skip(f"no tools to start pods with: {TOOLS} is missing (CLUSTER_TOOLS names another folder)")
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")


@pytest.fixture(scope="session")
def image() -> str:
    """The image, built from this tree with the bundled model."""
    command("make", "image", f"IMAGE={IMAGE}")
    return IMAGE


@pytest.fixture(scope="module")
def dev(image: str) -> Iterator[Stack]:
    """overlays/dev as it is, but with two pods of the API."""
    with Stack("valence-e2e-dev", overlay("dev"), image=image, pods=2) as stack:
        yield stack


@pytest.fixture(scope="module")
def prod(image: str) -> Iterator[Stack]:
    """overlays/prod with its two pods, without what only a cluster can run (mesh, monitors, autoscaler)."""
    with Stack("valence-e2e-prod", with_redis_password(overlay("prod")), image=image, pods=2) as stack:
        yield stack
