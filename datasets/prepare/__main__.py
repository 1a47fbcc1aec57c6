"""See modprompt/data/prepare."""

import sys

from modprompt.data.prepare.__main__ import main
from modprompt.programs import report

if __name__ == "__main__":
    sys.exit(report(main))
