"""Whether the service can serve a model package: `python -m app.model.check FOLDER`, before anybody relies on it.

Texts that clients may send, or rows, go through each engine that computes the package here, alone and in batches of
every size.
Prints one line: the engines that passed (exit status 0), or why the package can't be served (1).
"""

import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.errors import PackageError, one_line
from app.model.classifier import Classifier, GoldenMismatch
from app.model.package import Package
from app.model.tabular import LARGEST_VALUE, TabularModel, TabularPackage, open_package
from app.model.tokenizer import Pair
from app.settings import EngineChoice

BATCH_TOLERANCE = 1e-4
"""Largest difference of a score, alone and in a batch: a cache would freeze whichever came first."""
LARGEST_BATCH = 16
"""Every size up to it is tried, and all texts together."""
MAX_SPECIAL_TOKENS = 16
"""So many special tokens are tried in texts; some tokenizers have hundreds, all alike."""
PLAIN = "good"
DROPPED = "\ufffd"
"""Visible, so no blank text to the service; BERT's tokenizers drop it, and nothing but special tokens is left."""
LONG_UNITS = ("good ", "x", "\u597d")
"""Repeated beyond what any model reads: words, one unbroken word, a script without spaces."""
LONG_CHARACTERS = 16
"""Of a long text, for each token that the model reads."""

FloatArray = npt.NDArray[np.float64]


class Unservable(Exception):
    """Why the package can't be served, in one line."""


def check(folder: Path) -> list[str]:
    """Try the package in every engine that computes it here; return their names. Raises Unservable."""
    try:
        package = open_package(folder)
    except PackageError as exc:
        raise Unservable(str(exc)) from exc
    if isinstance(package, TabularPackage):
        _try_rows(package)
        return ["onnxruntime"]
    choices: tuple[EngineChoice, ...] = ("native", "onnxruntime")
    return [choice for choice in choices if _passes(package, choice)]


def _passes(package: Package, choice: EngineChoice) -> bool:
    """False where the service would leave the package to ONNX Runtime. Raises Unservable."""
    try:
        classifier = Classifier(package, choice)
        classifier.check_golden()
    except (PackageError, GoldenMismatch) as exc:
        if choice == "native":
            return False
        raise Unservable(str(exc)) from exc
    _try_texts(classifier)
    try:
        classifier.warm_up()
    except Exception as exc:
        raise Unservable(f"it can't be warmed up: {one_line(exc)}") from exc
    return True


def special_tokens(tokenizer: Path) -> list[str]:
    """The tokens of a tokenizer.json that are recognised anywhere in a text, such as [SEP] or </s>."""
    added = json.loads(tokenizer.read_bytes()).get("added_tokens", [])
    return [token["content"] for token in islice(added, MAX_SPECIAL_TOKENS)]


def _try_texts(classifier: Classifier) -> None:
    texts = _short_texts(classifier)
    rows = [_encode(classifier, text) for text in texts]
    alone = [_scores(classifier, [row], f"the text {text!r}") for row, text in zip(rows, texts, strict=True)]
    expected = np.concatenate(alone)
    for index, text in enumerate(texts):  # in pairs, so that the message can name the text
        _same_in_batch(classifier, rows, expected, [0, index], f"a batch in which one text is {text!r}")
    for size in range(1, min(LARGEST_BATCH, len(rows)) + 1):
        for start in range(0, len(rows), size):
            batch = list(range(start, min(start + size, len(rows))))
            _same_in_batch(classifier, rows, expected, batch, f"a batch of {len(batch)} texts")
    _same_in_batch(classifier, rows, expected, list(range(len(rows))), f"a batch of {len(rows)} texts")
    for unit in LONG_UNITS:
        long = _encode(classifier, _taken(classifier, unit * (LONG_CHARACTERS * classifier.encoder.max_tokens)))
        what = f"a text of {len(long)} tokens ({unit!r} repeated)"
        pair = np.concatenate([expected[:1], _scores(classifier, [long], what)])
        _same_in_batch(classifier, [rows[0], long], pair, [0, 1], f"a batch with {what}")


def _short_texts(classifier: Classifier) -> list[str]:
    """A plain text, the golden ones, and special tokens where a client may write them."""
    golden = [item.text for item in classifier.package.manifest.golden]
    tokens = special_tokens(classifier.package.tokenizer_path)
    inside = [text for token in tokens for text in (token, f"{PLAIN} {token} {PLAIN}", f"{token}{token}{PLAIN}")]
    return [*(_taken(classifier, text) for text in (PLAIN, DROPPED, *inside)), *golden]


def _taken(classifier: Classifier, text: str) -> str:
    """The text as the package takes it: alone, or as both texts of a pair."""
    return Pair(text, text) if classifier.package.manifest.pairs else text


def _encode(classifier: Classifier, text: str) -> list[int]:
    shown = repr(text if len(text) <= len(PLAIN) * 16 else f"{text[:32]}...")
    try:
        ids = classifier.encoder.encode(text).ids
    except Exception as exc:
        raise Unservable(f"the text {shown} can't be tokenised: {one_line(exc)}") from exc
    if not 0 < len(ids) <= classifier.encoder.max_tokens:
        raise Unservable(f"the text {shown} has {len(ids)} tokens, not 1 to {classifier.encoder.max_tokens}")
    return ids


def _scores(classifier: Classifier, rows: Sequence[list[int]], what: str) -> FloatArray:
    """Scores (texts, labels), which must be numbers between 0 and 1."""
    try:
        scores = classifier.scores(list(rows))
    except Exception as exc:
        raise Unservable(f"{what} fails: {one_line(exc)}") from exc
    shape = len(rows), len(classifier.package.manifest.labels)
    if scores.shape != shape:
        raise Unservable(f"{what} gets scores of shape {list(scores.shape)}, not {list(shape)}")
    if not ((scores >= 0) & (scores <= 1)).all():  # NaN is neither
        raise Unservable(f"{what} gets scores that are no numbers between 0 and 1")
    return scores


def _same_in_batch(
    classifier: Classifier, rows: Sequence[list[int]], expected: FloatArray, batch: Sequence[int], what: str
) -> None:
    found = _scores(classifier, [rows[index] for index in batch], what)
    worst = float(np.abs(found - expected[list(batch)]).max())
    if worst > BATCH_TOLERANCE:
        raise Unservable(f"{what} changes a score by {worst:.2g} (allowed: {BATCH_TOLERANCE:g})")


def _try_rows(package: TabularPackage) -> None:
    """Golden rows, and rows of extreme values, alone and in batches. Raises Unservable."""
    try:
        model = TabularModel(package)
        model.check_golden()
        model.warm_up()
    except (PackageError, GoldenMismatch) as exc:
        raise Unservable(str(exc)) from exc
    columns = package.manifest.features
    extremes = [(column.minimum, column.maximum, 0.0, LARGEST_VALUE, -LARGEST_VALUE) for column in columns]
    rows = [*map(list, zip(*extremes, strict=True)), *(item.row for item in package.manifest.golden)]
    expected = np.concatenate([_row_scores(model, [row]) for row in rows])
    for size in range(1, LARGEST_BATCH + 1):
        for start in range(0, len(rows), size):
            found = _row_scores(model, rows[start : start + size])
            worst = float(np.abs(found - expected[start : start + size]).max())
            if worst > BATCH_TOLERANCE * max(1.0, float(np.abs(expected).max())):
                raise Unservable(f"a batch of {len(found)} rows changes an answer by {worst:.2g}")


def _row_scores(model: TabularModel, rows: list[list[float]]) -> FloatArray:
    """Answers (rows, labels), or (rows, 1) of a regression, which must be finite; scores are between 0 and 1."""
    shown = f"a batch of {len(rows)} rows, the first of which begins with {rows[0][:3]},"
    try:
        scores = model.engine.scores(rows)
    except Exception as exc:
        raise Unservable(f"{shown} fails: {one_line(exc)}") from exc
    manifest = model.package.manifest
    if scores.shape != (len(rows), len(manifest.labels)):
        raise Unservable(f"{shown} gets answers of shape {list(scores.shape)}")
    low, high = (0, 1) if manifest.classes else (-LARGEST_VALUE, LARGEST_VALUE)
    if not ((scores >= low) & (scores <= high)).all():  # NaN is neither
        raise Unservable(f"{shown} gets answers that are no numbers from {low:g} to {high:g}")
    return scores


def main(arguments: Sequence[str]) -> int:
    """Run from the command line with one folder."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m app.model.check FOLDER\n")
        return 2
    try:
        engines = check(Path(arguments[0]))
    except Unservable as exc:
        sys.stdout.write(f"{exc}\n")
        return 1
    sys.stdout.write(f"can be served, by {' and '.join(engines)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
