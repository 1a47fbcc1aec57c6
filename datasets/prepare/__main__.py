"""See modprompt/data/prepare."""

import sys

from modprompt.data.prepare.__main__ import main as main

if __name__ == "__main__":
    sys.exit(main())
