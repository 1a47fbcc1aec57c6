"""The versions of the packages that a run was made with."""

import importlib.metadata
import platform
from typing import Dict

from modprompt import places
from modprompt.version import __version__


def versions() -> Dict[str, str]:
    """Versions of Python, of this package and of what is installed of constraints.txt, which codebases do not have."""
    found = {"python": platform.python_version(), "modprompt": __version__}
    path = places.constraints()
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for name in (line.partition("==")[0].lower() for line in lines if "==" in line and not line.startswith("#")):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # an extra that is not installed
            continue
    return found
