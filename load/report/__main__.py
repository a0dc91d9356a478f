"""`python -m load.report RUN_DIR [--against OTHER_RUN_DIR]`: the report of a run again, or two runs side by side."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from load.report.data import ReportError
from load.report.page import write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report into RUN_DIR; 1 with one line when a folder is no run's."""
    parser = argparse.ArgumentParser(prog="python -m load.report", description=__doc__)
    parser.add_argument("run", type=Path, help="folder that `make load` wrote")
    parser.add_argument("--against", type=Path, help="a second run, shown beside the first")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"report: {write_report(options.run, options.against)}\n")
    except ReportError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
