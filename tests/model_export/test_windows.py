"""Packages whose long texts are scored in windows."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export group: make install-export")

from model_export.__main__ import main
from model_export.checkpoint import load
from model_export.errors import ExportError
from model_export.profile import replace_profile
from model_export.reference import CheckpointScorer
from model_export.scores import PackageScorer
from model_export.windows import Logits, Windows, of_manifest
from tests.model_export.tiny import TOLERANCE

WINDOWS = Windows(32, overlap=8, most=3)
OPTIONS = ["--window-tokens", "32", "--window-overlap", "8", "--max-windows", "3"]


@pytest.fixture(scope="module")
def windowed(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the tiny checkpoint, with windows; the service's own code has tried its golden texts."""
    output = tmp_path_factory.mktemp("windows") / "tiny"
    arguments = ["--model", str(checkpoint), "--licence", "MIT", "--tolerance", str(TOLERANCE), *OPTIONS]
    assert main([*arguments, "--output", str(output)]) == 0
    return output


def test_manifest_has_the_windows_and_a_golden_text_for_them(windowed: Path) -> None:
    """The shortest text of more tokens than a window, beside those that every package has."""
    manifest = json.loads((windowed / "manifest.json").read_text())
    assert of_manifest(manifest, 512) == WINDOWS
    scorer = PackageScorer(windowed, activation="softmax", max_tokens=512, windows=WINDOWS)
    lengths = [len(scorer.token_ids(item["text"])) for item in manifest["golden"]]
    assert [length > 32 for length in lengths] == [False] * (len(lengths) - 1) + [True]


def test_package_scores_windows_as_pytorch_does(checkpoint: Path, windowed: Path) -> None:
    """A text of two windows and one that is cut behind the third, beside a short one."""
    texts = ["good film", "good film never again " * 10, "the worst film, " * 90]
    reference = CheckpointScorer(load(checkpoint), WINDOWS)
    scorer = PackageScorer(windowed, activation="softmax", max_tokens=512, windows=WINDOWS)
    rows = [scorer.token_ids(text) for text in texts]
    assert rows == [reference.token_ids(text) for text in texts]
    assert [len(row) for row in rows] == [4, 52, 96]
    assert np.abs(scorer.scores(texts) - reference.scores(texts)).max() < TOLERANCE
    assert not np.allclose(reference.scores(texts)[1:], CheckpointScorer(load(checkpoint)).scores(texts)[1:])


def test_new_profile_counts_the_tokens_of_all_windows(windowed: Path, tmp_path: Path) -> None:
    """As the service does, or every long text would look like drift."""
    data = tmp_path / "mine.txt"
    data.write_text("a profile keeps the name and the digest of this file")
    replace_profile(windowed, [f"good film never again {'again ' * 100}{number}" for number in range(500)], data)
    tokens = json.loads((windowed / "profile.json").read_text())["features"]["tokens"]
    assert tokens["edges"][-1] == 3 * 32


def test_logits_are_the_mean_by_tokens() -> None:
    """A text of one window keeps its own, to the last bit; more windows than run at once change nothing."""

    def run(rows: Sequence[list[int]]) -> Logits:
        assert len(rows) <= 32
        return np.array([[sum(row) / len(row), len(row)] for row in rows], np.float32)

    rows = [[1, 2], [3, 3, 3, 3, 5], [7] * 200]
    expected = [[1.5, 2], [(4 * 3 + 5) / 5, (4 * 4 + 1) / 5], [7, 4]]
    assert Windows(4, most=64).logits(rows, run).tolist() == pytest.approx(np.array(expected))


@pytest.mark.parametrize(
    ("windows", "fault"),
    [
        (Windows(513), "--window-tokens 513: the model takes 16 to 512"),
        (Windows(15), "--window-tokens 15: the model takes 16 to 512"),
        (Windows(64, 33), "--window-overlap 33: 0 to 32, half a window, is possible"),
        (Windows(64, most=65), "--max-windows 65: 1 to 64 is possible"),
    ],
)
def test_windows_that_the_service_refuses_are_not_exported(windows: Windows, fault: str) -> None:
    """One line names option, value and bounds."""
    with pytest.raises(ExportError, match=fault):
        windows.check(512)
