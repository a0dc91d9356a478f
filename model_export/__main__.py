"""Checkpoint -> model package: one folder that serves predictions without the training stack.

python -m model_export --model ID_OR_DIR [--revision SHA] [--data FILE.tsv] --output DIR
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model_export.errors import ExportError
from model_export.labelled import read_labelled
from model_export.package import staging
from model_export.progress import note
from model_export.source import DEFAULT_MODEL, fetch, first_line
from model_export.tracking import of_package, tracker

TOLERANCE = 0.3
"""Largest score difference to PyTorch on any text. int8 moves logits by up to 1.2; where two labels are close, that is
0.25 of score (measured with a 6-layer DistilBERT on the 190 texts; the mean is 0.01)."""

_INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line: 0 when the package was written, 1 with one line on standard error when not."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except (ExportError, OSError) as exc:  # OSError: a full disk, or a file that vanishes on the way
        note(f"error: {first_line(exc)}")
        return 1
    except KeyboardInterrupt:
        note("error: interrupted")
        return _INTERRUPTED
    note(f"wrote {options.output}")
    return 0


def _run(options: argparse.Namespace) -> None:
    examples = None if options.data is None else read_labelled(options.data)
    tracked_by = tracker()
    with staging(options.output) as stage:
        source = fetch(options.model, options.revision)
        # torch and transformers take seconds to import: a mistyped argument should not have to wait for them.
        from model_export.pipeline import Request, build  # noqa: PLC0415

        request = Request(
            output=options.output,
            tolerance=options.tolerance,
            name=options.name,
            labels=options.labels,
            licence=options.licence,
            data=options.data,
            examples=examples,
        )
        build(source, request, stage)
    if tracked_by:
        tracked_by.log(of_package(options.output))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_export", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default=DEFAULT_MODEL, help="hub id or folder of a checkpoint (%(default)s)")
    parser.add_argument("--revision", help="commit, tag or branch of a hub id (the pinned one, or main)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the package; an older one is replaced")
    parser.add_argument("--name", help="name of the package (the folder's name)")
    parser.add_argument("--labels", type=_names, help="names by logit index, A,B,... (the checkpoint's own)")
    parser.add_argument("--licence", help="SPDX identifier (what the model card says)")
    parser.add_argument(
        "--data", type=Path, help="labelled texts for accuracy and profile: label, tab, sentence; one header line"
    )
    parser.add_argument(
        "--tolerance", type=float, default=TOLERANCE, help="largest score difference to PyTorch (%(default)s)"
    )
    return parser


def _names(value: str) -> list[str]:
    return [name.strip() for name in value.split(",")]


if __name__ == "__main__":
    sys.exit(main())
