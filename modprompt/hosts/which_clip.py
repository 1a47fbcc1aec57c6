"""Which `clip` a codebase's train.py would import, found by a Python started as that program is: its own must win.

A folder without __init__.py loses to any installed package; every folder loses to an import hook (some editable
installs have one), and to whatever sitecustomize or a .pth file has imported already.
"""

import json
import subprocess
import sys
from pathlib import Path

from modprompt.clip.package import own_folder
from modprompt.errors import UserError

_PATIENCE_S = 120
_MARK = "it is at "
# the program's folder is first on the path, unless PYTHONSAFEPATH forbids it
_ASK = f"""
import importlib.util, json, sys
if not getattr(sys.flags, "safe_path", False):
    sys.path[0] = sys.argv[1]
found = sys.modules.get(sys.argv[2])
if found is None:
    found = importlib.util.find_spec(sys.argv[2])
file = getattr(found, "origin", None) or getattr(found, "__file__", None)
folders = getattr(found, "submodule_search_locations", None) or getattr(found, "__path__", None)
print("\\n{_MARK}" + json.dumps(file or (next(iter(folders)) if folders else None)))
"""


def found_by(folder: Path, name: str) -> Path | None:
    """The folder (or the file, for a plain module) from which a program in a folder would import a package.

    Raises:
        UserError: if Python cannot say.
    """
    command = [sys.executable, "-c", _ASK, str(folder), name]
    try:
        done = subprocess.run(command, cwd=str(folder), capture_output=True, check=False, timeout=_PATIENCE_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{sys.executable} in {folder} does not say where `{name}` is: {error}") from None
    answers = [line for line in done.stdout.decode(errors="replace").splitlines() if line.startswith(_MARK)]
    if done.returncode or not answers:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{sys.executable} in {folder} does not say where `{name}` is: {said[-1]}")
    answer = json.loads(answers[-1][len(_MARK) :])
    if answer is None:
        return None
    path = (folder / str(answer)).resolve()
    return path.parent if path.name.startswith("__init__.") else path


def require_own_clip(folder: Path) -> None:
    """Raise UserError if a codebase has a folder `clip` next to its train.py, but that program would import another."""
    own = own_folder(folder)
    if own is None:
        return
    found = found_by(folder, "clip")
    if found == own:
        return
    where = "no `clip` at all" if found is None else str(found)
    decides = "an import hook, sitecustomize, a .pth file or PYTHONSAFEPATH decides"
    reason = decides if (own / "__init__.py").is_file() else "it has no __init__.py"
    raise UserError(
        f"train.py would import {where} in place of {own} ({reason}): take the other one away (pip uninstall; "
        "modprompt itself comes without it by pip install --no-deps, or PYTHONPATH), or change nothing and use "
        "python -m modprompt launch train.py"
    )
