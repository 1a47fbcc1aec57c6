"""See modprompt/experiments/running/run.py."""

import sys

from modprompt.experiments.running.run import main

if __name__ == "__main__":
    sys.exit(main())
