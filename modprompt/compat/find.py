"""Substitutes for packages that may not be installed. They never come before an installed one."""

import sys
from pathlib import Path

from modprompt.compat import mends


def add_to_path() -> None:
    """Put the substitutes (a small `dassl`) at the very end of the module path; fix the real Dassl if it is used."""
    folder = str(Path(__file__).resolve().parent / "stand_in")
    if folder not in sys.path:
        sys.path.append(folder)
    mends.apply()
