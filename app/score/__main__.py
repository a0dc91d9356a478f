"""Score a file of texts without a server: python -m app.score in.csv --text-column review --output out.parquet.

Three readings of the input: the first finds whatever is wrong with it before hours of work, the second scores its texts
into a journal, from which a run that was stopped goes on, and the third writes the output (docs/score.md).
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from time import perf_counter

from app.cpu import plan_threads
from app.errors import PackageError
from app.model.classifier import GoldenMismatch, checked_classifier
from app.model.package import Package
from app.model.source import look_up
from app.model.tabular import TabularPackage, open_package
from app.score.bulk import CHUNK_ROWS, BulkScorer
from app.score.journal import BadJournal, Journal, open_journal
from app.settings import Settings, SettingsError, read_settings

try:
    from tqdm import tqdm

    from app.score.job import Job
    from app.score.tables import BadTable
except ModuleNotFoundError as exc:
    sys.exit(f"error: app.score needs {exc.name}: install the extra `score` of pyproject.toml, or use `make score`")

INTERRUPTED = 130
"""Exit status of a program that Ctrl-C ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    options = _parser().parse_args(arguments)
    output = options.output or options.input.with_suffix(f".scored{options.input.suffix}")
    try:
        settings = read_settings()
        package = _package(settings)
        _run(settings, package, Job.of(options.input, options.text_column, output))
    except OSError as exc:
        return _failed(f"{exc.filename or output}: {exc.strerror or exc}")
    except (BadTable, BadJournal, GoldenMismatch, PackageError, SettingsError) as exc:
        return _failed(str(exc))
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command goes on where this one was\n")
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.score", description="Score a file of texts without a server.")
    parser.add_argument("input", type=Path, help="a file whose name ends in .csv, .tsv, .jsonl or .parquet")
    parser.add_argument("--text-column", default="text", help="the column of the texts (default: text)")
    parser.add_argument("--output", type=Path, help="a file of any of these formats (default: INPUT.scored.csv, ...)")
    return parser


def _failed(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 1


def _package(settings: Settings) -> Package:
    """What scores single texts. Raises PackageError for a package that does not."""
    package = open_package(look_up(settings.model_dir, settings.model_cache_dir).folder)
    if isinstance(package, TabularPackage):
        raise PackageError(
            f"{settings.model_dir} takes rows of a table (VALENCE_MODEL_DIR), and a column of texts is scored here: "
            "`make run` serves it, and POST /predict takes its rows"
        )
    if package.manifest.pairs:
        raise PackageError(
            f"{settings.model_dir} takes pairs of texts (VALENCE_MODEL_DIR), and a column holds single ones"
        )
    return package


def _run(settings: Settings, package: Package, job: Job) -> None:
    classifier, _ = checked_classifier(package, settings.engine)
    with open_journal(job.journal_path, job.identity(classifier), chunk=CHUNK_ROWS, total=job.rows) as journal:
        scorer = BulkScorer(
            classifier,
            threads=plan_threads(requested=settings.threads).threads,
            max_texts=settings.cache_max_entries,
        )
        began = perf_counter()
        _score(job, journal, scorer)
        seconds = perf_counter() - began
        counts = job.write(journal, classifier.package.manifest.labels)
    job.journal_path.unlink()
    sys.stdout.write(
        f"{job.output}: {job.rows} rows, {counts.empty} of them without a text, {counts.truncated} cut at "
        f"{classifier.encoder.longest} tokens; {scorer.scored} texts scored by {classifier.engine.name} "
        f"in {seconds:.1f} s\n"
    )


def _score(job: Job, journal: Journal, scorer: BulkScorer) -> None:
    """Have the journal hold all rows."""
    texts = job.texts()
    with tqdm(total=job.rows, initial=journal.rows, unit=" rows", disable=None) as progress:
        for start in range(0, journal.rows, CHUNK_ROWS):
            for text, record in zip(islice(texts, CHUNK_ROWS), journal.read(start, CHUNK_ROWS), strict=False):
                scorer.remember(text, record.tobytes())
        with closing(scorer.score(texts)) as chunks:
            for records in chunks:
                progress.update(journal.append(records))


if __name__ == "__main__":
    sys.exit(main())
