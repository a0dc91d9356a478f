"""A tiny checkpoint, its package, and a hub that serves it.

Modules that need torch are imported inside: the suite must be collected, and skipped, where torch isn't installed.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model_export.hub import Hub

# Read when torch is imported, here and in the commands that tests start. Threads that wait for each other over tiny
# matrices make the suite several times slower on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DistilBERT with the labels NEGATIVE and POSITIVE. Not to be changed."""
    from tests.model_export.tiny import write_checkpoint  # noqa: PLC0415

    names = {0: "NEGATIVE", 1: "POSITIVE"}
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny-distilbert", id2label=names)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled texts."""
    rows = ["label\tsentence", "0\tbad film", "1\tgood film", "0\tnever again", "1\tlove it", "0\tworst", "1\tperfect"]
    path = tmp_path_factory.mktemp("data") / "dev.tsv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def package(checkpoint: Path, labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of `checkpoint`, exported once. Not to be changed."""
    from model_export.__main__ import main  # noqa: PLC0415
    from tests.model_export.tiny import TOLERANCE  # noqa: PLC0415

    output = tmp_path_factory.mktemp("packages") / "tiny"
    options = ["--data", str(labelled), "--licence", "MIT", "--tolerance", str(TOLERANCE), "--output", str(output)]
    assert main(["--model", str(checkpoint), *options]) == 0
    return output


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[Hub]:
    """A hub that serves `checkpoint` as `someone/tiny-distilbert`."""
    with Hub(checkpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
