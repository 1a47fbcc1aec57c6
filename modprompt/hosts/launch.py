"""Run a codebase's own train.py with the trainer MPL in it; no file of the codebase is touched.

    cd CODEBASE && python -m modprompt.launch train.py --trainer MPL --config-file configs/trainers/MPL/NAME.yaml ...

All flags are the codebase's own. A config file of MPL that the codebase does not have is taken from this package. Where
the codebase has a trainer MPL of its own, ours is --trainer ModMPL.
"""

import importlib
import runpy
import sys
from pathlib import Path
from typing import List, Optional

from modprompt.clips import package as clip_package
from modprompt.errors import UserError
from modprompt.hosts.ship import config_files
from modprompt.programs import left_as_found

_ROOT = Path(__file__).resolve().parents[2]


def put_host_first(folder: Path) -> None:
    """Module names such as trainers, datasets and clip are the codebase's, whatever else is on the path."""
    checkout = _ROOT if (_ROOT / "train.py").is_file() else None  # else it is where all packages are
    kept = [entry for entry in sys.path if Path(entry or ".").resolve() not in (checkout, folder)]
    sys.path[:] = [str(folder), *kept]


def with_shipped_config(words: List[str]) -> List[str]:
    """The words with a --config-file that is not there replaced by the file of that name in this package."""
    shipped = {path.name: str(path) for path in config_files()}
    words = [*words]
    for at, word in enumerate(words):
        flag, joined, value = word.partition("=")
        if flag != "--config-file":
            continue
        if not joined:
            value = words[at + 1] if at + 1 < len(words) else ""
        ours = Path(value).parent.name in ("", "MPL", "ModMPL") and Path(value).name in shipped
        if ours and not Path(value).is_file():
            found = shipped[Path(value).name]
            print(f"{value} is not in this codebase; taken from modprompt: {found}")
            if joined:
                words[at] = f"{flag}={found}"
            else:
                words[at + 1] = found
    return words


def prepare(folder: Path) -> None:
    """Make a codebase's parts importable, mend its Dassl and enter the trainer.

    Raises:
        UserError: if there is no Dassl or no clip.
    """
    put_host_first(folder)
    try:
        clip_package.use_folder(folder)
        clip_package.import_clip()
        from modprompt.trainers.registration import give_way
    except ImportError as error:
        raise UserError(f"{error}; `python -m modprompt.doctor` in {folder} says what is missing") from None
    give_way()
    importlib.import_module("modprompt.trainers.mpl")


def _run_script(script: Path) -> None:
    from modprompt.trainers.device import kept  # its codebase's Dassl is found by now

    with kept():
        runpy.run_path(str(script), run_name="__main__")


@left_as_found()
def main(argv: Optional[List[str]] = None) -> int:
    """Exit code: that of the program, or 2 after one line on what is wrong, or 130 when interrupted."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 0 if words and words[0] in ("-h", "--help") else 2
    script = Path(words[0]).resolve()
    try:
        if not script.is_file():
            raise UserError(f"there is no {script}: start this in a codebase's folder, with its train.py")
        prepare(script.parent)
        sys.argv = [str(script), *with_shipped_config(words[1:])]
        _run_script(script)
    except (UserError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; a run of MPL goes on after its last whole epoch when it is started again", file=sys.stderr)
        return 130
    return 0
