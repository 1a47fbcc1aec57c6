"""`python -m modprompt.install`: see modprompt/hosts/install.py."""

import sys

from modprompt.hosts.install import main

if __name__ == "__main__":
    sys.exit(main())
