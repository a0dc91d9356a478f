"""Checkpoint -> model package: one folder that serves predictions without the training stack.

python -m model_export --model ID_OR_DIR [--revision SHA] [--data FILE.tsv] --output DIR [--register NAME]
python -m model_export register NAME --package DIR                          a package as a version of a registered model
python -m model_export promote NAME [--version N] --data FILE.tsv           a version as the champion, if gates hold
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from model_export.command import ended
from model_export.errors import ExportError
from model_export.labelled import add_columns, read_labelled
from model_export.package import staging
from model_export.progress import note
from model_export.source import DEFAULT_MODEL, fetch
from model_export.tracking import VARIABLE, of_package, tracker
from model_export.windows import MAX_WINDOWS, Windows

TOLERANCE = 0.25
"""Largest score difference to PyTorch on any text. int8 moves logits by up to 1.2; where two labels are close, that is
0.25 of score (measured with a 6-layer DistilBERT on the 190 texts; the mean is 0.01)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line: 0 when the package was written, 1 with one line on standard error when not."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and (command := {"register": _register, "promote": _promote}.get(arguments[0])):
        return command(arguments[1:])
    options = _parser().parse_args(arguments)
    return ended(partial(_run, options), "model_export", failing=f"{options.model} can't be exported: ")


def _register(arguments: Sequence[str]) -> int:
    from model_export import registry  # noqa: PLC0415 - the service's libraries, of which an export uses none itself

    return registry.main(arguments)


def _promote(arguments: Sequence[str]) -> int:
    from model_export import promote  # noqa: PLC0415 - as above

    return promote.main(arguments)


def _run(options: argparse.Namespace) -> None:
    if options.pairs and (options.window_tokens is not None or options.data is not None):
        raise ExportError("--pairs goes with neither --window-tokens nor --data: both are of single texts")
    named = options.text_column is not None
    examples = None if options.data is None or named else read_labelled(options.data)
    windows = None
    if options.window_tokens is not None:
        windows = Windows(options.window_tokens, options.window_overlap, options.max_windows)
    tracked_by = tracker()
    if options.register and tracked_by is None:
        raise ExportError(f"--register needs {VARIABLE}, which names the server of MLflow")
    with staging(options.output) as stage:
        source = fetch(options.model, options.revision)
        # torch and transformers take seconds to import: a mistyped argument should not have to wait for them.
        from model_export.pipeline import Request, build  # noqa: PLC0415
        from model_export.text_table import Columns  # noqa: PLC0415

        request = Request(
            output=options.output,
            tolerance=options.tolerance,
            name=options.name,
            labels=options.labels,
            licence=options.licence,
            data=options.data,
            columns=Columns(options.text_column, options.label_column) if named else None,
            examples=examples,
            emoji_names=options.emoji_names,
            unclear_below=options.unclear_below,
            intended_use=options.intended_use,
            windows=windows,
            pairs=options.pairs,
        )
        try:
            build(source, request, stage)
        except ExportError as exc:
            if str(exc).startswith(source.id):
                raise
            raise ExportError(f"{source.id}: {exc}") from exc
    if tracked_by:
        run_id = tracked_by.log(of_package(options.output))
        if options.register:
            from model_export.registry import register  # noqa: PLC0415 - as above

            register(tracked_by, options.output, options.register, run_id)
    note(f"wrote {options.output}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_export", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default=DEFAULT_MODEL, help="hub id or folder of a checkpoint (%(default)s)")
    parser.add_argument("--revision", help="commit, tag or branch of a hub id (the pinned one, or main)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the package; an older one is replaced")
    parser.add_argument("--name", help="name of the package (the folder's name)")
    parser.add_argument("--labels", type=_names, help="names by logit index, A,B,... (the checkpoint's own)")
    parser.add_argument("--licence", help="SPDX identifier (what the model card says)")
    parser.add_argument(
        "--data", type=Path, help="labelled texts for accuracy and profile: as GLUE has them, or see --text-column"
    )
    add_columns(parser)
    parser.add_argument(
        "--pairs", action="store_true", help="the checkpoint was trained on pairs of texts, as for entailment"
    )
    parser.add_argument(
        "--emoji-names", action="store_true", help="the tokenizer reads emoji as their Unicode names, not as unknown"
    )
    parser.add_argument(
        "--unclear-below", type=_share, help="a text whose highest score is lower has no clear label, such as 0.667"
    )
    parser.add_argument(
        "--window-tokens", type=int, help="a text of more tokens is scored in windows of so many (it is cut)"
    )
    parser.add_argument("--window-overlap", type=int, default=0, help="tokens in common with the window before (0)")
    parser.add_argument(
        "--max-windows", type=int, default=MAX_WINDOWS, help="windows behind which a text is cut (%(default)s)"
    )
    parser.add_argument("--intended-use", help="what the model is made for, and what not: /model/info says it")
    parser.add_argument(
        "--register", metavar="NAME", help="make the package the next version of this registered model in MLflow"
    )
    parser.add_argument(
        "--tolerance", type=float, default=TOLERANCE, help="largest score difference to PyTorch (%(default)s)"
    )
    return parser


def _share(value: str) -> float:
    share = float(value)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 1")
    return share


def _names(value: str) -> list[str]:
    return [name.strip() for name in value.split(",")]


if __name__ == "__main__":
    sys.exit(main())
