"""Whether one package may take another's place: what both measure on the same texts, in the service's own code."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import PackageError
from app.model.classifier import Classifier, GoldenMismatch, checked_classifier
from app.model.package import Package
from app.settings import EngineChoice
from model_export.calibrate import calibration_error, targets_of
from model_export.dataset import LabelledText
from model_export.errors import ExportError
from model_export.labelled import Example
from model_export.scores import FloatArray, given

MAX_ACCURACY_DROP = 0.5
"""Points of accuracy that the candidate may be worse by, as the export allows to the quantisation."""
MAX_CALIBRATION_RISE = 1.0
"""Points of expected calibration error that it may be worse by."""
MAX_GROWTH = 1.25
"""Its bytes and its CPU time a text, each as a multiple of the champion's."""
MIN_SAME_GOLDEN = 0.9
"""Share of the champion's clear golden texts that must keep their label."""
CLEAR = 0.8
"""A golden text whose highest score is lower has no label that must be kept."""
ENGINES: tuple[EngineChoice, ...] = ("native", "onnxruntime")
TIMED_TEXTS, ROUNDS = 64, 5
"""Each text is timed so often on either side."""


@dataclass(frozen=True)
class Gate:
    """One comparison, as it is told; the champion has nothing to show where there is none."""

    name: str
    champion: str
    candidate: str
    allowed: str
    holds: bool


@dataclass(frozen=True)
class Measured:
    """What is known of a package: points of accuracy and of calibration error, bytes of all files, engines."""

    package: Package
    classifier: Classifier
    accuracy: float
    calibration: float
    size: int
    engines: tuple[str, ...]
    """Those that compute it here and score its golden texts as at export."""


def measure(folder: Path, examples: Sequence[Example | LabelledText]) -> Measured:
    """Score every example. Raises ExportError for a package that can't be served here, or labels that it has not."""
    try:
        package = Package(folder)
        classifier, _ = checked_classifier(package)
    except (PackageError, GoldenMismatch) as exc:
        raise ExportError(f"{folder} can't be served here: {exc}") from exc
    manifest = package.manifest
    if manifest.activation == "sigmoid":
        raise ExportError(f"{manifest.name} gives several labels at once, and --data holds one a text")
    if manifest.pairs:
        raise ExportError(f"{manifest.name} takes pairs of texts, and --data holds single ones")
    if (highest := max(label for example in examples for label in example.labels)) >= len(manifest.labels):
        raise ExportError(f"--data has a label {highest}, but {manifest.name} has only {len(manifest.labels)} labels")
    scores = _scores(classifier, [example.text for example in examples])
    targets = targets_of(examples, len(manifest.labels))
    return Measured(
        package=package,
        classifier=classifier,
        accuracy=100.0 * float(np.mean((given(scores, manifest.activation) == targets).all(axis=1))),
        calibration=calibration_error(scores, targets, manifest.activation),
        size=sum(facts.bytes for facts in manifest.files.values()),
        engines=tuple(engine for engine in ENGINES if _computes(package, engine)),
    )


def alone(candidate: Measured) -> list[Gate]:
    """What is asked of the first champion: its golden texts score here as at export, which `measure` has seen to."""
    return [
        Gate("accuracy, %", "-", f"{candidate.accuracy:.2f}", "any", holds=True),
        Gate("calibration error, points", "-", f"{candidate.calibration:.2f}", "any", holds=True),
        Gate("engines", "-", ", ".join(candidate.engines), "one", holds=bool(candidate.engines)),
    ]


def compare(champion: Measured, candidate: Measured, texts: Sequence[str]) -> list[Gate]:
    """Every gate, whether it holds or not. `texts` are those that are timed, at most `TIMED_TEXTS` of them."""
    ours, theirs = candidate.package.manifest.labels, champion.package.manifest.labels
    gates = [Gate("labels", ", ".join(theirs), ", ".join(ours), "the same", holds=ours == theirs)]
    gates += [
        _at_most("wrong labels, %", 100 - champion.accuracy, 100 - candidate.accuracy, more=MAX_ACCURACY_DROP),
        _at_most("calibration error, points", champion.calibration, candidate.calibration, more=MAX_CALIBRATION_RISE),
        _at_most("size, MB", champion.size / 1e6, candidate.size / 1e6, times=MAX_GROWTH),
        _at_most("CPU ms a text", *_milliseconds([champion, candidate], texts), times=MAX_GROWTH),
    ]
    same, clear = _same_golden(champion, candidate) if ours == theirs else (0, 0)
    kept = f"{same} of {clear}"
    holds = same >= MIN_SAME_GOLDEN * clear
    gates.append(Gate("golden texts of one label", f"{clear} of {clear}", kept, f"{MIN_SAME_GOLDEN:.0%}", holds))
    needed = set(champion.engines) <= set(candidate.engines)
    before, now = (", ".join(side.engines) for side in (champion, candidate))
    gates.append(Gate("engines", before, now, "no fewer", needed))
    return gates


def _at_most(name: str, champion: float, candidate: float, *, more: float = 0.0, times: float = 1.0) -> Gate:
    allowed = champion * times + more
    holds = round(candidate, 6) <= round(allowed, 6)  # 10.5 and 10.0 are not 0.5 apart in binary
    return Gate(name, f"{champion:.2f}", f"{candidate:.2f}", f"up to {allowed:.2f}", holds)


def _computes(package: Package, engine: EngineChoice) -> bool:
    try:
        Classifier(package, engine).check_golden()
    except (PackageError, GoldenMismatch):
        return False
    return True


def _scores(classifier: Classifier, texts: Sequence[str]) -> FloatArray:
    """Scores (texts, labels) of each text alone, as a cache would keep them."""
    return np.concatenate([classifier.scores([classifier.encoder.encode(text).ids]) for text in texts])


def _milliseconds(sides: Sequence[Measured], texts: Sequence[str]) -> list[float]:
    """Mean CPU time of a text, tokens and all, each text at its best of rounds in which the sides take turns.

    Neither the time that passed nor a mean of rounds: other work on the machine would count against one of them.
    """
    timed = texts[:TIMED_TEXTS]
    best = np.full((len(sides), len(timed)), np.inf)
    for _ in range(ROUNDS):
        for index, text in enumerate(timed):
            for row, side in enumerate(sides):
                began = time.thread_time()
                _scores(side.classifier, [text])
                best[row, index] = min(best[row, index], time.thread_time() - began)
    means: list[float] = (1000 * best.mean(axis=1)).tolist()
    return means


def _same_golden(champion: Measured, candidate: Measured) -> tuple[int, int]:
    """How many of the champion's clear golden texts the candidate gives the same label, and of how many."""
    golden = champion.package.manifest.golden
    clear = {item.text: max(item.scores, key=item.scores.__getitem__) for item in golden}
    clear = {item.text: clear[item.text] for item in golden if max(item.scores.values()) >= CLEAR}
    if not clear:
        return 0, 0
    given = _scores(candidate.classifier, list(clear)).argmax(axis=1)
    labels = candidate.package.manifest.labels
    return sum(labels[index] == label for index, label in zip(given, clear.values(), strict=True)), len(clear)
