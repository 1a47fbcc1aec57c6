"""Print the mean accuracy of one run with several seeds, like the repository of LP++.

python -m modprompt.experiments.reporting.tasks FOLDER...     one folder for each finished run
"""

import math
import statistics
from collections.abc import Sequence

from modprompt.errors import UserError
from modprompt.experiments.reporting.runs import find_mixture
from modprompt.io import folder as run_folder
from modprompt.io.result import mark_of
from modprompt.programs import Parser, report


def mean_of(folders: Sequence[str]) -> tuple[float, float, str]:
    """Return the mean accuracy of runs in percent, its spread, and remarks on the selection of checkpoints.

    The spread is 1.96 standard deviations (n in the denominator) divided by sqrt(n).

    Raises:
        UserError: if a run has not finished, or if the runs differ in facts that averaged runs must share.
    """
    runs = []
    for folder in folders:
        result, why = run_folder.of_training(folder)[:2]
        if result is None or result["accuracy_pct"] is None:
            raise UserError(f"The run in {folder} has not finished{f' ({why})' if why else ''}. Finish the run first.")
        runs.append((str(result.get("dataset")), folder, result))
    if why := find_mixture(runs):
        raise UserError(f"The runs have {why}.")
    accuracies = [result["accuracy_pct"] for *_, result in runs]
    marks = [mark_of(result) for *_, result in runs]
    counted = [f"{marks.count(mark)} of these runs: {mark}" for mark in sorted({*marks} - {""})]
    spread = 1.96 * statistics.pstdev(accuracies) / math.sqrt(len(accuracies))
    return statistics.fmean(accuracies), spread, "; ".join(counted)


def _main(argv: list[str] | None) -> int:
    parser = Parser(__doc__)
    parser.add_argument("folders", metavar="FOLDER", nargs="+", help="folder of a finished run")
    folders = parser.parse_args(argv).folders
    mean, spread, marks = mean_of(folders)
    how = f"1.96 std / sqrt({len(folders)}), std with n in the denominator"
    print(f"{len(folders)} tasks: {mean:.2f} ± {spread:.2f} % ({how}){f'; {marks}' if marks else ''}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code: 0, or 2 after an error message."""
    return report(_main, argv)


if __name__ == "__main__":
    raise SystemExit(main())
