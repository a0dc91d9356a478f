"""profile.json: the texts that a model is made for, as histograms. The service compares live traffic with it.

    python -m model_export.profile PACKAGE --data LABELLED.tsv
    python -m model_export.profile PACKAGE --texts ONE_A_LINE.txt

An export makes one from its labelled texts; this command makes it anew from texts of your own, and needs no PyTorch.
Take texts that the model was not trained on: it is surer of those that it knows, and live ones would look like drift.
"""

import argparse
import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_export.errors import ExportError, one_line
from model_export.labelled import read_labelled
from model_export.package import FILES, MANIFEST, PROFILE, WEIGHTS, digest, fingerprint, publish, staging, write_json
from model_export.progress import Progress, note
from model_export.scores import FloatArray, PackageScorer, one_by_one
from model_export.windows import of_manifest

FORMAT = 1
MIN_TEXTS = 500
"""Fewer would say too little: 500 texts against 500 of the same kind reach, in ten bins, an index of 0.09 once in a
hundred times by chance."""
BINS = 10
Histogram = dict[str, list[float] | list[int]]
"""`edges`, and one more of `counts`."""


def measure(scorer: PackageScorer, texts: Sequence[str], data: Path) -> dict[str, Any]:
    """The profile of the different ones among the texts, which come from the file `data`.

    `label` is what the model predicts, since that is what can be seen of live texts too. Raises ExportError for fewer
    than `MIN_TEXTS` different texts.
    """
    different = distinct(texts)
    if len(different) < MIN_TEXTS:
        raise ExportError(f"{data}: {len(different)} different texts, a profile needs at least {MIN_TEXTS}")
    scores = one_by_one(scorer, different)
    rows = [scorer.token_ids(text) for text in different]
    tokens = np.array([len(row) for row in rows], np.float64)
    features = {
        "label": histogram(scores.argmax(axis=1), [float(label) for label in range(scores.shape[1] - 1)]),
        "score": quantile_histogram(scores.max(axis=1)),
        "tokens": quantile_histogram(tokens),
    }
    if scorer.unknown_id is not None:
        unknown = np.array([row.count(scorer.unknown_id) for row in rows]) / tokens
        # Always a bin for texts without any: in a model's own language that is nearly all of them.
        edges = quantile_edges(unknown) if unknown.any() else []
        features["unknown_tokens"] = histogram(unknown, sorted({0.0, *edges}))
    return {
        "format": FORMAT,
        "data": data.name,
        "sha256": digest(data),
        "texts": len(different),
        "features": features,
    }


def distinct(texts: Sequence[str]) -> list[str]:
    """Each text once: the service counts them so, too."""
    return list(dict.fromkeys(texts))


def quantile_edges(values: FloatArray) -> list[float]:
    """Edges of up to ten bins that hold equally many values each, fewer where many values are equal.

    Bin i holds the values v with edges[i - 1] < v <= edges[i]. A value that all share gets an edge on either side, so
    that neither smaller nor larger ones fall in with it.
    """
    highest = float(values.max())
    quantiles = np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf")
    edges = [float(edge) for edge in np.unique(quantiles) if edge < highest]
    return edges or [math.nextafter(highest, -math.inf), highest]


def quantile_histogram(values: FloatArray) -> Histogram:
    """Of values, in up to ten bins of equal size."""
    return histogram(values, quantile_edges(values))


def histogram(values: FloatArray | npt.NDArray[np.int64], edges: list[float]) -> Histogram:
    """How many values each bin holds."""
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return {"edges": edges, "counts": counts.tolist()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line: 0 when the package has its profile, 1 with one line on standard error when not."""
    options = _parser().parse_args(arguments)
    try:
        texts = _read_texts(options.texts) if options.texts else [e.text for e in read_labelled(options.data)]
        replace_profile(options.package, texts, options.texts or options.data)
    except (ExportError, OSError) as exc:
        note(f"error: {exc if isinstance(exc, ExportError) else one_line(exc)}")
        return 1
    note(f"wrote {options.package / PROFILE}")
    return 0


def replace_profile(package: Path, texts: Sequence[str], data: Path) -> None:
    """Give the package a new profile; readers see the old package or the new one. Raises ExportError."""
    manifest = _read_manifest(package)
    if manifest.get("pairs"):
        raise ExportError(f"{package} takes pairs of texts: a profile is made of single ones")
    progress = Progress(2)
    with staging(package) as stage:
        max_tokens = manifest["max_tokens"]
        scorer = PackageScorer(
            package, activation=manifest["activation"], max_tokens=max_tokens, windows=of_manifest(manifest, max_tokens)
        )
        with progress.step(f"scoring {len(texts)} texts"):
            profile = measure(scorer, texts, data)
        with progress.step("writing the package"):
            new = stage / "package"
            new.mkdir()
            for name in {*FILES, WEIGHTS} & manifest["files"].keys():
                shutil.copy2(package / name, new / name)
            write_json(new / PROFILE, profile)
            manifest["files"][PROFILE] = fingerprint(new / PROFILE)
            write_json(new / MANIFEST, manifest)
            publish(new, package)


def _read_manifest(package: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((package / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ExportError(f"no model package at {package}: {one_line(exc)}") from exc
    missing = {"activation", "max_tokens", "files"} - manifest.keys()
    if missing:
        raise ExportError(f"{package / MANIFEST} does not say: {', '.join(sorted(missing))}")
    return manifest


def _read_texts(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # not splitlines(): a text may hold U+2028
    except (OSError, UnicodeDecodeError) as exc:
        raise ExportError(f"cannot read {path}: {exc}") from exc
    return [line.strip() for line in lines if line.strip()]


def _parser() -> argparse.ArgumentParser:
    description = "Give a model package the profile of texts that are like those it is to serve."
    parser = argparse.ArgumentParser(prog="python -m model_export.profile", description=description)
    parser.add_argument("package", type=Path, help="folder of the package; its profile.json and manifest are replaced")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="labelled texts: tab-separated, header label and sentence")
    source.add_argument("--texts", type=Path, help="texts without labels, such as your traffic: one a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
