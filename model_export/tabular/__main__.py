"""Table -> model package: a scikit-learn pipeline, cross-validated, converted to ONNX and verified.

python -m model_export.tabular --data FILE.csv --target COLUMN --algorithm random_forest --output DIR
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from model_export.command import ended
from model_export.errors import ExportError
from model_export.progress import Progress, note
from model_export.tracking import of_package, tracker

_ALGORITHMS = ("random_forest", "gradient_boosting", "logistic_regression")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line: 0 when the package was written, 1 with one line on standard error when not."""
    options = _parser().parse_args(arguments)
    return ended(partial(_run, options), "model_export.tabular")


def _run(options: argparse.Namespace) -> None:
    hyperparameters = dict(map(_setting, options.set))
    units = dict(map(_pair, options.unit))
    # scikit-learn takes a second to import: a mistyped argument should not have to wait for it.
    from model_export.estimators import estimator, fit  # noqa: PLC0415
    from model_export.tabular.export import About, export  # noqa: PLC0415
    from model_export.tabular.table import check_classes, read_table  # noqa: PLC0415

    estimator(options.algorithm, options.task, hyperparameters, options.seed)  # refuses wrong ones at once
    tracked_by = tracker()
    table = read_table(options.data, options.target, units)
    if options.task == "classification":
        check_classes(table)
    with Progress(1).step(f"fitting {options.algorithm} on {len(table.target)} rows, {options.folds} folds"):
        fitted = fit(
            table.features,
            table.target,
            algorithm=options.algorithm,
            hyperparameters=hyperparameters,
            task=options.task,
            seed=options.seed,
            folds=options.folds,
        )
    about = About(
        name=options.name,
        licence=options.licence,
        intended_use=options.intended_use,
        target_unit=units.get(options.target),
        seed=options.seed,
        folds=options.folds,
    )
    note("cross-validated: " + ", ".join(f"{name} {value:.4f}" for name, value in fitted.metrics.items()))
    note("converting to ONNX, verifying, trying the package in the service ...")
    export(fitted, table, options.output, about)
    if tracked_by:
        tracked_by.log(of_package(options.output))
    note(f"wrote {options.output}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_export.tabular", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="CSV file with a header line; columns of numbers")
    parser.add_argument("--target", required=True, help="the column that is predicted from the others")
    parser.add_argument(
        "--task", choices=("classification", "regression"), default="classification", help="(%(default)s)"
    )
    parser.add_argument("--algorithm", choices=_ALGORITHMS, default=_ALGORITHMS[0], help="(%(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter, such as max_depth=8"
    )
    parser.add_argument("--folds", type=_folds, default=5, help="of the cross-validation, 2 to 20 (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same one gives the same package (%(default)s)")
    parser.add_argument(
        "--unit",
        action="append",
        default=[],
        metavar="COLUMN=UNIT",
        help="what a column, or the target, is measured in",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the package; an older one is replaced")
    parser.add_argument("--name", help="name of the package (the folder's name)")
    parser.add_argument("--licence", help="SPDX identifier")
    parser.add_argument("--intended-use", help="what the model is made for, and what not: /model/info says it")
    return parser


def _folds(value: str) -> int:
    if not value.isdigit() or not 2 <= int(value) <= 20:  # noqa: PLR2004 - as the help says
        raise argparse.ArgumentTypeError(f"{value} is not from 2 to 20")
    return int(value)


def _pair(argument: str) -> tuple[str, str]:
    name, equals, value = argument.partition("=")
    if not equals or not name or not value:
        raise ExportError(f"{argument!r} should be like NAME=VALUE")
    return name, value


def _setting(argument: str) -> tuple[str, Any]:
    """A value as JSON has it, or else as it stands: `8`, `0.5`, `balanced`."""
    name, value = _pair(argument)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
