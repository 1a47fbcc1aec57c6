"""What the check puts in place of packages that it does without, in a folder for PYTHONPATH."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from modprompt.errors import UserError
from modprompt.storage.text import write_whole

_NOT_HERE = "a stand-in of the check: it is imported, not called"
_FILES = {
    "wilds": {
        "wilds/__init__.py": f'def get_dataset(*args, **kwargs):\n    raise RuntimeError("{_NOT_HERE}")\n',
    },
    "learn2learn": {
        "learn2learn/__init__.py": "",
        "learn2learn/utils.py": f'def clone_module(*args, **kwargs):\n    raise RuntimeError("{_NOT_HERE}")\n\n\nupdate_module = clone_module\n',
        "learn2learn/algorithms/__init__.py": "",
        "learn2learn/algorithms/base_learner.py": "import torch\n\n\nclass BaseLearner(torch.nn.Module):\n    pass\n",
    },
}
STANDS_IN = tuple(_FILES)


def put(name: str, folder: Path, python: str = sys.executable) -> Path:
    """The folder that has a package of `table.ASKED`: a stand-in, or what pip installs there.

    Raises:
        UserError: if pip does not.
    """
    where = folder / name
    if where.is_dir():
        return where
    if name in _FILES:
        for path, text in _FILES[name].items():
            write_whole(where / path, text)
        return where
    words = [python, "-m", "pip", "install", "--quiet", "--target", str(where), "setuptools<70"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"pip does not install setuptools<70, which gives {name}: {done.stderr.strip()[-200:]}")
    return where
