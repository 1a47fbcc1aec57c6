"""Print the mean accuracy of one run with several seeds, like the repository of LP++.

python -m modprompt.experiments.reporting.tasks FOLDER...     one folder for each finished run
"""

import math
import statistics
from collections.abc import Sequence

from modprompt.errors import UserError
from modprompt.experiments.reporting.runs import find_mixture
from modprompt.io import folder as run_folder
from modprompt.io.images import mark_of
from modprompt.programs import Parser, report


def mean_of(folders: Sequence[str]) -> tuple[float, float, str]:
    """Mean accuracy of runs in percent; 1.96 standard deviations (n in the denominator) over sqrt(n); their marks.

    Raises:
        UserError: if one is not finished, or they differ in what averaged runs must have in common.
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
    """Print the mean of runs; 2 after a message on a run that is not finished."""
    return report(_main, argv)


if __name__ == "__main__":
    raise SystemExit(main())
