"""See modprompt/experiments/reporting/report.py."""

import sys

from modprompt.experiments.reporting.report import main

if __name__ == "__main__":
    sys.exit(main())
