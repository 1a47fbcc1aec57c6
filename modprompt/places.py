"""Where the package's other files are, and how its programs are started.

In a checkout configs/ is next to the package, and data and output are in the checkout. In an installed package configs/
is inside it, and data and output are in the current folder.
"""

import os
import sys
from pathlib import Path

from modprompt.errors import UserError

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent  # the checkout, or the folder of installed packages
OUR_CODE = tuple({f"{one}{os.sep}" for one in (PACKAGE, Path(__file__).parent)})  # the real path, and the imported one
_INSIDE = PACKAGE / "configs"


def is_checkout() -> bool:
    """Whether this package is used from a checkout (an editable installation is one too)."""
    return not _INSIDE.is_dir()


def configs() -> Path:
    """The folder with trainers/, datasets/ and experiments/."""
    return ROOT / "configs" if is_checkout() else _INSIDE


def named_file(word: str, folder: Path = Path()) -> Path | None:
    """The file at a path from a folder, else one of this project's by its path in a checkout (configs/...), if any."""
    shipped = [configs() / word.removeprefix("configs/")] if word.startswith("configs/") else []
    return next((path for path in (folder / word, *shipped) if path.exists() and not path.is_dir()), None)


def require_no_folder(word: str, folder: Path = Path()) -> None:
    """Raise UserError if a folder is named where a config file is wanted."""
    if (folder / word).is_dir():
        raise UserError(
            f"{word} is a folder, not a config file. Pass a folder of images or data sets as --root (or --data)."
        )


def constraints() -> Path:
    """The file with the exact versions that the README's figures were made with."""
    return (ROOT if is_checkout() else PACKAGE) / "constraints.txt"


def home() -> Path:
    """The folder of data and output by default."""
    return ROOT if is_checkout() else Path.cwd()


def data_root(given: str = "") -> str:
    """The folder of the data sets: the given one, else that of DATA in the environment, else data/."""
    return given or os.environ.get("DATA") or "data"


# PYTHONSAFEPATH is of Python 3.11: before it `-m` finds a modprompt in the working directory first
_START = "import runpy, sys; del sys.path[0], sys.argv[0]; runpy.run_module(sys.argv[0], None, '__main__', True)"
_RUN = ["-m"] if sys.version_info >= (3, 11) else ["-c", _START]


def program(*words: str) -> list[str]:
    """The words that start a command of this package: `python -m modprompt ...`, whatever the working directory has."""
    return [sys.executable, *_RUN, "modprompt", *words]


def environment() -> dict[str, str]:
    """Variables of the environment with which a process started from here imports this very package.

    PYTHONSAFEPATH keeps out the working directory, which may be a codebase with modprompt in it.
    """
    found = {"PYTHONSAFEPATH": "1"}
    path = os.environ.get("PYTHONPATH", "")
    is_installed = ROOT.name in ("site-packages", "dist-packages")
    if not is_installed and path.split(os.pathsep)[0] != str(ROOT):
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), path]))
    return found
