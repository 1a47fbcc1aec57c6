"""The mean of one run with several seeds, as LP++'s repository prints it.

python -m modprompt.experiments.reporting.tasks FOLDER...     each folder that of a run which is finished
"""

import argparse
import math
import statistics
from typing import List, Optional, Sequence, Tuple

from modprompt.errors import UserError
from modprompt.programs import report
from modprompt.runs import result as results


def mean_of(folders: Sequence[str]) -> Tuple[float, float]:
    """Mean accuracy of runs in percent, and 1.96 standard deviations of it, that of their number n over sqrt(n).

    Raises:
        UserError: if one is not finished.
    """
    accuracies: List[float] = []
    for folder in folders:
        found = results.read(folder)
        if found.result is None or found.result["accuracy_pct"] is None:
            raise UserError(f"{folder} is not finished{f': {found.why}' if found.why else ''}")
        accuracies.append(found.result["accuracy_pct"])
    return statistics.fmean(accuracies), 1.96 * statistics.pstdev(accuracies) / math.sqrt(len(accuracies))


def _main(argv: Optional[List[str]]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", metavar="FOLDER", nargs="+")
    folders = parser.parse_args(argv).folders
    mean, spread = mean_of(folders)
    print(f"{len(folders)} tasks: {mean:.2f} +- {spread:.2f} % (1.96 std / sqrt({len(folders)}))")
    return 0


def main(argv: Optional[List[str]] = None) -> int:
    """Print the mean of runs; 2 after one line on a run that is not finished."""
    return report(_main, argv)


if __name__ == "__main__":
    raise SystemExit(main())
