"""The gates of a promotion, each alone: two measured packages that differ in one thing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

from app.model.classifier import Classifier
from app.model.package import Golden, Package
from model_export.errors import ExportError
from model_export.gates import Gate, Measured, alone, compare, measure
from model_export.labelled import Example
from model_export.promote import table

TEXTS = ["A good film.", "A bad film.", "Never again, it was awful.", "I love it."]
EXAMPLES = [Example(label, text) for label, text in zip((1, 0, 0, 1), TEXTS, strict=True)]


@pytest.fixture(scope="module")
def champion(bundled_model: Path) -> Measured:
    """The bundled package, measured on four texts."""
    return measure(bundled_model, EXAMPLES)


def failed(champion: Measured, candidate: Measured) -> list[str]:
    """The names of the gates that do not hold."""
    return [gate.name for gate in compare(champion, candidate, TEXTS) if not gate.holds]


def test_measured_is_what_the_service_says(champion: Measured) -> None:
    """All four right, and an error of calibration that four certain texts have."""
    assert champion.accuracy == 100.0
    assert 0 < champion.calibration < 50
    assert champion.size == sum(facts.bytes for facts in champion.package.manifest.files.values())
    assert "onnxruntime" in champion.engines


def test_equal_package_passes_every_gate(champion: Measured) -> None:
    """Also that of speed, in which each side has the best of its rounds."""
    assert failed(champion, champion) == []
    assert [gate.name for gate in alone(champion) if not gate.holds] == []


@pytest.mark.parametrize(
    ("better", "worse", "gate"),
    [
        ({"accuracy": 90.5}, {"accuracy": 89.9}, "wrong labels, %"),
        ({"calibration": 3.0}, {"calibration": 4.1}, "calibration error, points"),
        ({"size": 100}, {"size": 126}, "size, MB"),
        ({"engines": ("native", "onnxruntime")}, {"engines": ("onnxruntime",)}, "engines"),
    ],
    ids=["accuracy", "calibration", "size", "engines"],
)
def test_worse_package_fails_its_gate(
    champion: Measured, better: dict[str, object], worse: dict[str, object], gate: str
) -> None:
    """That one and no other; the other way round all hold."""
    size = {"size": 100}  # so small that a byte counts
    before, after = replace(champion, **(size | better)), replace(champion, **(size | worse))
    assert failed(before, after) == [gate]
    assert failed(after, before) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"accuracy": 90.5}, {"accuracy": 90.0}),
        ({"calibration": 3.0}, {"calibration": 4.0}),
        ({"size": 4}, {"size": 5}),
    ],
    ids=["accuracy", "calibration", "size"],
)
def test_what_is_allowed_passes(champion: Measured, before: dict[str, object], after: dict[str, object]) -> None:
    """Half a point, a point and a quarter are themselves allowed."""
    assert failed(replace(champion, **before), replace(champion, **after)) == []


def test_slower_package_fails_its_gate(champion: Measured) -> None:
    """One that computes every text three times."""

    class Thrice:
        encoder = champion.classifier.encoder

        def scores(self, rows: list[list[int]]) -> object:
            for _ in range(2):
                champion.classifier.scores(rows)
            return champion.classifier.scores(rows)

    slow = replace(champion, classifier=Thrice())  # type: ignore[arg-type]
    assert failed(champion, slow) == ["CPU ms a text"]


def test_labels_and_golden_texts_must_be_those_of_the_champion(champion: Measured) -> None:
    """Labels by other names answer other questions, and a golden text under another label is a changed mind."""
    manifest = champion.package.manifest
    other = champion.package.__class__(champion.package.folder)
    other.manifest = manifest.model_copy(update={"labels": ["BAD", "GOOD"]})
    assert failed(champion, replace(champion, package=other)) == ["labels"]
    changed = [
        item.model_copy(update={"scores": dict(zip(item.scores, reversed(item.scores.values()), strict=True))})
        for item in manifest.golden
    ]
    other.manifest = manifest.model_copy(update={"golden": changed})
    assert failed(replace(champion, package=other), champion) == ["golden texts of one label"]


def with_golden(champion: Measured, golden: list[Golden]) -> Measured:
    """The champion as one with these golden texts."""
    package = Package(champion.package.folder)
    package.manifest = package.manifest.model_copy(update={"golden": golden})
    return replace(champion, package=package)


def turned(golden: Golden) -> Golden:
    """The same text under the other label."""
    scores = dict(zip(golden.scores, reversed(golden.scores.values()), strict=True))
    return golden.model_copy(update={"scores": scores})


@pytest.mark.parametrize(("changed", "held"), [(1, True), (2, False)])
def test_a_tenth_of_the_clear_golden_texts_may_change(champion: Measured, changed: int, held: bool) -> None:
    """Of ten one, not two; one that had no clear label does not count."""
    golden = champion.package.manifest.golden
    clear = [item for item in golden if max(item.scores.values()) >= 0.8][:10]
    unclear = [item for item in golden if max(item.scores.values()) < 0.8]
    assert len(clear) == 10
    assert unclear
    asked = [*map(turned, clear[:changed]), *clear[changed:], *map(turned, unclear)]
    assert (failed(with_golden(champion, asked), champion) == []) is held


def test_a_slow_beginning_is_no_slow_model(champion: Measured) -> None:
    """Whose first round takes three times as long as the others: each text counts at its best."""
    calls = 0

    class SlowAtFirst:
        encoder = champion.classifier.encoder

        def scores(self, rows: list[list[int]]) -> object:
            nonlocal calls
            calls += 1
            for _ in range(8 if calls <= len(TEXTS) else 0):
                champion.classifier.scores(rows)
            return champion.classifier.scores(rows)

    warm = replace(champion, classifier=SlowAtFirst())  # type: ignore[arg-type]
    assert _gate(compare(champion, warm, TEXTS), "CPU ms a text").holds


def _gate(gates: list[Gate], name: str) -> Gate:
    (found,) = (gate for gate in gates if gate.name == name)
    return found


def test_first_champion_needs_an_engine(champion: Measured) -> None:
    """One that nothing computes here as at export is none."""
    assert [gate.name for gate in alone(replace(champion, engines=())) if not gate.holds] == ["engines"]


@pytest.mark.parametrize("label", [2, 4])
def test_labels_that_the_model_has_not_are_refused(bundled_model: Path, label: int) -> None:
    """A file of five stars says nothing of two labels."""
    with pytest.raises(ExportError, match=f"--data has a label {label}, but distilbert-sst2-mini has only 2 labels"):
        measure(bundled_model, [Example(0, "Bad."), Example(label, "Some stars.")])


def test_several_labels_a_text_are_refused(bundled_model: Path, tmp_path: Path) -> None:
    """The gates are of one label a text."""
    folder = Path(shutil.copytree(bundled_model, tmp_path / "package"))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8")) | {"activation": "sigmoid"}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    classifier = Classifier(Package(folder))
    for item in manifest["golden"]:
        (scores,) = classifier.scores([classifier.encoder.encode(item["text"]).ids]).tolist()
        item["scores"] = dict(zip(manifest["labels"], scores, strict=True))
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ExportError, match="gives several labels at once"):
        measure(folder, EXAMPLES)


def test_package_that_is_none_is_refused(tmp_path: Path) -> None:
    """With what is wrong with it."""
    with pytest.raises(ExportError, match=r"can't be served here: no model package at "):
        measure(tmp_path, EXAMPLES)


def test_table_says_what_does_not_hold(champion: Measured) -> None:
    """A line for each gate, its verdict last."""
    lines = table(compare(replace(champion, accuracy=100.0), replace(champion, accuracy=75.0), TEXTS)).splitlines()
    (wrong,) = [line for line in lines if line.endswith("NO")]
    assert wrong.split() == ["wrong", "labels,", "%", "0.00", "25.00", "up", "to", "0.50", "NO"]
