"""model_export/profile.py: the histograms of a profile, and the command that gives a package another one."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.package import Package
from app.model.tokenizer import Encoder
from model_export.profile import MIN_TEXTS, main, quantile_edges
from model_export.scores import PackageScorer
from tests.conftest import ROOT

WORDS = ("a", "good", "bad", "film", "plot", "actor", "joke", "scene", "never", "always", "quite", "boring", "lovely")
# Runs the command and says whether PyTorch came along.
COMMAND = (
    "import sys; from model_export.profile import main; status = main(); sys.exit(status or 'torch' in sys.modules)"
)


def make_texts(count: int, seed: int = 0) -> list[str]:
    """Different texts of 1 to 12 words; every tenth holds a word that no tokenizer knows."""
    source = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        words = source.choices(WORDS, k=source.randint(1, 12))
        found[
            " ".join([*words, "\N{ETHIOPIC SYLLABLE HA}\N{ETHIOPIC SYLLABLE MA}"] if len(found) % 10 == 0 else words)
        ] = None
    return list(found)


def write_labelled(path: Path, texts: Sequence[str], labels: Sequence[int] = ()) -> Path:
    """A file of labelled texts; the labels are all 0 unless given."""
    lines = [f"{label}\t{text}\n" for label, text in zip(labels or [0] * len(texts), texts, strict=True)]
    path.write_text("label\tsentence\n" + "".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def copy(bundled_model: Path, tmp_path: Path) -> Path:
    """A copy of the bundled package, card and all, that a test may change."""
    return Path(shutil.copytree(bundled_model, tmp_path / "package"))


@pytest.fixture(scope="module")
def profiled(bundled_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundled package with a profile of 600 texts, some of them twice; made as a user does, once."""
    folder = tmp_path_factory.mktemp("profiled")
    shutil.copytree(bundled_model, folder / "package")
    texts = make_texts(600)
    data = write_labelled(folder / "mine.tsv", texts + texts[:50])
    command = [sys.executable, "-c", COMMAND, str(folder / "package"), "--data", str(data)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    assert run.stderr.splitlines()[-1] == f"wrote {folder / 'package' / 'profile.json'}"
    return folder / "package"


def read_profile(folder: Path) -> dict[str, Any]:
    """profile.json."""
    fields: dict[str, Any] = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
    return fields


def test_service_takes_the_new_profile(profiled: Path, bundled_model: Path) -> None:
    """The package passes the service's checks, under the same digest as before; only the profile is another."""
    package, before = Package(profiled), Package(bundled_model)
    assert package.profile is not None
    assert (package.profile.data, package.profile.texts) == ("mine.tsv", 600)
    assert package.digest == before.digest
    assert {path.name for path in profiled.iterdir()} == {path.name for path in bundled_model.iterdir()}
    for name in ("README.md", "config.json", "model.onnx", "tokenizer.json", "weights.safetensors"):
        assert (profiled / name).read_bytes() == (bundled_model / name).read_bytes()
    old, new = (json.loads((folder / "manifest.json").read_text()) for folder in (bundled_model, profiled))
    del old["files"]["profile.json"], new["files"]["profile.json"]
    assert new == old


def test_profile_counts_what_the_service_sees(profiled: Path) -> None:
    """Tokens and unknown tokens are those of the service's own tokenizer; each text counts once."""
    features = read_profile(profiled)["features"]
    assert {sum(histogram["counts"]) for histogram in features.values()} == {600}
    package = Package(profiled)
    encoder = Encoder(package.tokenizer_path, package.manifest.max_tokens)
    lengths = [len(encoder.encode(text).ids) for text in make_texts(600)]
    edges = features["tokens"]["edges"]
    assert features["tokens"]["counts"][0] == sum(length <= edges[0] for length in lengths)
    assert features["tokens"]["counts"][-1] == sum(length > edges[-1] for length in lengths)
    assert features["unknown_tokens"]["edges"][0] == 0
    assert features["unknown_tokens"]["counts"][0] == 540


def test_labels_are_the_predicted_ones(profiled: Path) -> None:
    """The file says 0 for all; live texts have no labels but predicted ones."""
    negative, positive = read_profile(profiled)["features"]["label"]["counts"]
    assert min(negative, positive) > 100


def test_profile_says_where_it_comes_from(profiled: Path) -> None:
    """Name and digest of the file; no path."""
    fields = read_profile(profiled)
    content = (profiled.parent / "mine.tsv").read_bytes()
    assert (fields["data"], fields["sha256"]) == ("mine.tsv", hashlib.sha256(content).hexdigest())


def test_texts_need_no_labels(copy: Path, tmp_path: Path) -> None:
    """Traffic, one text a line, gives the same profile as the labelled file."""
    (tmp_path / "traffic.txt").write_text("\n\n".join(make_texts(MIN_TEXTS)) + "\n", encoding="utf-8")
    assert main([str(copy), "--texts", str(tmp_path / "traffic.txt")]) == 0
    assert read_profile(copy)["texts"] == MIN_TEXTS
    assert Package(copy).profile


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("label\tsentence\n" + "1\tgood\n" * 1_000, r"mine.tsv: 1 different texts, a profile needs at least 500"),
        ("good\n", "line 1: "),
    ],
)
def test_useless_data_is_one_line(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, reason: str
) -> None:
    """The message names the file, and the package stays as it was."""
    data = tmp_path / "mine.tsv"
    if content is not None:
        data.write_text(content)
    before = (copy / "manifest.json").read_bytes(), (copy / "profile.json").read_bytes()
    assert main([str(copy), "--data", str(data)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "mine.tsv" in error
    assert reason in error
    assert ((copy / "manifest.json").read_bytes(), (copy / "profile.json").read_bytes()) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"package", "mine.tsv"}


def test_other_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not every folder is a package."""
    data = write_labelled(tmp_path / "mine.tsv", make_texts(MIN_TEXTS))
    assert main([str(tmp_path), "--data", str(data)]) == 1
    assert capsys.readouterr().err.startswith(f"error: no model package at {tmp_path}")


@given(st.lists(st.integers(0, 60), min_size=1, max_size=300))
def test_edges_rise_and_leave_no_bin_out(values: list[int]) -> None:
    """At most ten bins; the first and the last hold something, unless all values are the same."""
    edges = quantile_edges(np.array(values, np.float64))
    assert 1 <= len(edges) <= 9
    assert all(low < high for low, high in pairwise(edges))
    if len(set(values)) > 1:
        assert min(values) <= edges[0]
        assert edges[-1] < max(values)


def test_ten_bins_hold_equally_many() -> None:
    """Where all values differ."""
    values = np.random.default_rng(1).random(1_000)
    counts = np.bincount(np.searchsorted(quantile_edges(values), values))
    assert counts.tolist() == [100] * 10


def test_constant_feature_still_tells_smaller_from_larger() -> None:
    """512 tokens each, as truncated documents have: 511 and 513 fall into other bins."""
    edges = quantile_edges(np.full(600, 512.0))
    assert np.searchsorted(edges, [511, 512, 513]).tolist() == [0, 1, 2]


@pytest.mark.skipif(find_spec("torch") is None, reason="needs the export environment: make install-export")
def test_export_profiles_enough_labelled_texts(checkpoint: Path, package: Path, tmp_path: Path) -> None:
    """With 500 of them the package has a profile; exported anew without data it has none, and no stale one."""
    from model_export.__main__ import main as export  # noqa: PLC0415
    from tests.model_export.tiny import TOLERANCE  # noqa: PLC0415

    # Labelled as the package sees them, so that a random model passes the gate of accuracy.
    scorer, texts = PackageScorer(package, activation="softmax", max_tokens=512), make_texts(MIN_TEXTS)
    labels = [int(scorer.scores([text]).argmax()) for text in texts]
    data, output = write_labelled(tmp_path / "mine.tsv", texts, labels), tmp_path / "package"
    options = ["--model", str(checkpoint), "--tolerance", str(TOLERANCE), "--output", str(output)]
    assert export([*options, "--data", str(data)]) == 0
    assert read_profile(output)["data"] == "mine.tsv"
    assert Package(output).profile is not None
    assert export(options) == 0
    assert not (output / "profile.json").exists()
    assert Package(output).profile is None
