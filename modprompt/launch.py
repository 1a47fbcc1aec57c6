"""`python -m modprompt.launch`: see modprompt/hosts/launch.py."""

import sys

from modprompt.hosts.launch import main

if __name__ == "__main__":
    sys.exit(main())
