"""Run a codebase's own train.py with the trainer MPL in it; no file of the codebase is touched.

    cd CODEBASE && python -m modprompt.launch train.py --trainer MPL --config-file configs/trainers/MPL/NAME.yaml ...

All flags are the codebase's own, but for --keep-settings (anywhere): settings that its program changes after your files
and options get your values back. A config file of MPL that the codebase does not have is taken from this package. Where
the codebase has a trainer MPL of its own, ours is --trainer ModMPL.
"""

import importlib
import importlib.util
import os
import runpy
import sys
from pathlib import Path
from typing import List, Optional

from modprompt.clips import package as clip_package
from modprompt.errors import UserError
from modprompt.hosts.manifest import MANIFEST
from modprompt.hosts.program import asks_of, named_in
from modprompt.hosts.ship import config_files
from modprompt.places import PACKAGE
from modprompt.programs import left_as_found, one_line

_ROOT = Path(__file__).resolve().parents[2]


def copy_of_the_environment() -> Optional[Path]:
    """The package that an import finds where this one is a codebase's installed copy; None if there is no other.

    Python looks into the current folder first, so that `python -m modprompt.launch` in a codebase with MPL starts that.
    """
    if not (PACKAGE.parent / MANIFEST).is_file():
        return None
    modules = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == PACKAGE.name}
    path = list(sys.path)
    sys.path[:] = [entry for entry in path if Path(entry or ".").resolve() != PACKAGE.parent]
    try:
        spec = importlib.util.find_spec(PACKAGE.name)
    finally:
        sys.path[:] = path
        sys.modules.update(modules)
    found = None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent
    return None if found is None or (found.parent / MANIFEST).is_file() else found  # nor that of another codebase


def _run_that(package: Path, words: List[str]) -> int:
    """Go on with the launcher of another copy, in this process."""
    for name in list(sys.modules):
        if name.partition(".")[0] == PACKAGE.name:
            del sys.modules[name]
    kept = [entry for entry in sys.path if Path(entry or ".").resolve() not in (PACKAGE.parent, package.parent)]
    sys.path[:] = [str(package.parent), *kept]
    launcher = importlib.import_module(f"{PACKAGE.name}.hosts.launch")
    return int(launcher.main(words))


def tell_of_another_copy(folder: Path) -> None:
    """Print a line if a codebase has a copy of this package, which is not run."""
    other = folder / PACKAGE.name
    if (other / "__init__.py").is_file() and other.resolve() != PACKAGE:
        print(f"running {PACKAGE}; {other}, which is installed in this codebase, is not used")


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


def tell_what_is_asked(script: Path, words: List[str]) -> None:
    """Print a line if a codebase's program asks more for our trainer than the family's flags, and the words lack it."""
    from modprompt.trainers.foreign import is_our_name, trainer_of

    trainer = trainer_of(words)
    if not is_our_name(trainer):
        return
    config = next((after for word, after in zip(words, words[1:]) if word == "--dataset-config-file"), "eurosat.yaml")
    try:
        asks = asks_of(script.parent, trainer, dataset=named_in(script.parent / config), program=script.name)
    except UserError:  # it cannot be read: running it says so
        return
    pairs = [*zip(asks.flags[::2], asks.flags[1::2]), *zip(asks.options[::2], asks.options[1::2])]
    lacking = [f"{name} {value or repr('')}" for name, value in pairs if name not in words]
    if asks.trainer != trainer and "TRAINER.NAME" not in words:
        lacking.insert(0, f"--trainer {asks.trainer}")
    if lacking:
        print(f"note: {script.name} asks for more than it was given; from base to new: {' '.join(lacking)}")


def prepare(folder: Path) -> None:
    """Make a codebase's parts importable, mend its Dassl and enter the trainer.

    Raises:
        UserError: if there is no Dassl or no clip.
    """
    put_host_first(folder)
    try:
        clip_package.use_folder(folder)
        clip_package.import_clip()
        from modprompt.trainers import foreign
        from modprompt.trainers.registration import give_way
    except ImportError as error:
        raise UserError(f"{error}; `python -m modprompt.doctor` in {folder} says what is missing") from None
    give_way()
    importlib.import_module("modprompt.trainers.mpl")
    foreign.watch()


def _run_script(script: Path) -> None:
    from modprompt.trainers.device import kept  # its codebase's Dassl is found by now

    with kept():
        runpy.run_path(str(script), run_name="__main__")


def _mistake_of(error: BaseException) -> str:
    if isinstance(error, UserError):  # perhaps before there is a PyTorch
        return one_line(error)
    from modprompt.trainers.foreign import mistake_of

    return mistake_of(error)


def _run(words: List[str]) -> None:
    from modprompt.trainers import foreign

    sys.argv[:] = words
    try:
        _run_script(Path(words[0]))
    finally:
        foreign.unwatch()


@left_as_found()
def main(argv: Optional[List[str]] = None) -> int:
    """Exit code: that of the program, or 2 after one line on what is wrong, or 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    other = copy_of_the_environment()
    if other is not None:
        return _run_that(other, words)
    if words[:1] == ["--keep-settings"]:  # as MODPROMPT_KEEP_SETTINGS says it, too
        words.pop(0)
        os.environ["MODPROMPT_KEEP_SETTINGS"] = "1"
    if not words or words[0].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 0 if words and words[0] in ("-h", "--help") else 2
    script = Path(words[0]).resolve()
    try:
        if not script.is_file():
            raise UserError(f"there is no {script}: start this in a codebase's folder, with its train.py")
        tell_of_another_copy(script.parent)
        prepare(script.parent)
        tell_what_is_asked(script, words[1:])
        _run([str(script), *with_shipped_config(words[1:])])
    except KeyboardInterrupt:
        print("interrupted; a run of MPL goes on after its last whole epoch when it is started again", file=sys.stderr)
        return 130
    except Exception as error:
        mistake = _mistake_of(error)
        if not mistake or os.environ.get("MODPROMPT_TRACEBACK"):
            raise
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    return 0
