"""Stand-ins for packages that may not be installed. They never come before an installed one."""

import sys
from pathlib import Path


def add_to_path() -> None:
    """Put the stand-ins (a small `dassl`) at the very end of the module path; mend the real Dassl if it is used."""
    folder = str(Path(__file__).resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    import modprompt.plugin  # noqa: F401 - mends it
