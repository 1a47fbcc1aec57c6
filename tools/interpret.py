"""See modprompt/cli/interpret.py."""

import sys

from modprompt.cli.interpret import main

if __name__ == "__main__":
    sys.exit(main())
