"""`python -m modprompt`: see modprompt/cli/main.py."""

import sys

from modprompt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
