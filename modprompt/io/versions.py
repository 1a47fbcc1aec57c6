"""The versions of the packages that a run was made with."""

import contextlib
import functools
import importlib.metadata
import platform
import subprocess

from modprompt import places
from modprompt.version import __version__


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what is installed of constraints.txt, which hosts do not have.

    `commit` is that of the checkout that this package is used from, if it is one of Git.
    """
    found = {"python": platform.python_version(), "modprompt": __version__}
    git = places.ROOT / ".git"  # nothing is searched: the package may lie in a folder of another repository
    if places.is_checkout() and git.exists():
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            asked = ["git", f"--git-dir={git}", "rev-parse", "--verify", "HEAD"]
            found["commit"] = subprocess.check_output(asked, text=True, stderr=subprocess.DEVNULL).strip()
    path = places.constraints()
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for name in (line.partition("==")[0].lower() for line in lines if "==" in line and not line.startswith("#")):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # an extra that is not installed
            found[name] = importlib.metadata.version(name)
    return found
