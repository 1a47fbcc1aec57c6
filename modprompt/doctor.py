"""`python -m modprompt.doctor`: see modprompt/hosts/doctor.py."""

import sys

from modprompt.hosts.doctor import main

if __name__ == "__main__":
    sys.exit(main())
