"""What a user got wrong in a codebase's files and options, in one line: as this project's own program says it."""

import contextlib
import difflib
import os
import sys
from pathlib import Path
from typing import Any, Iterator, List

import yaml
from dassl.data.datasets import DATASET_REGISTRY
from yacs.config import CfgNode

from modprompt import places
from modprompt.checks import check_name
from modprompt.errors import UserError
from modprompt.programs import one_line
from modprompt.runs.settings import flat
from modprompt.trainers import words

_LINE = "modprompt_line"  # on an error: what a user is told
_OURS = ("MPL", "ModMPL")  # folders of our config files


def note(error: Exception, cfg: CfgNode, given: Any) -> None:
    """Have an error of a merge know how a user is told, if it is the user's files or options that do not fit.

    The error stays what it is, since the program may be ready for it.

    Args:
        error: what the merge said.
        cfg: the configuration, perhaps with a part of it merged.
        given: the path of a file, KEY VALUE words or another configuration.
    """
    if _is_users(given):
        with contextlib.suppress(AttributeError):  # an error without attributes of its own
            setattr(error, _LINE, _of_merge(error, cfg, given))


def noted(error: BaseException) -> str:
    """How a user is told of an error, if that is noted on it; else empty."""
    return str(getattr(error, _LINE, ""))


def _is_users(given: Any) -> bool:
    parsed = words.parsed()
    known = {*sys.argv[1:]} if parsed is None else {*parsed.files(), *parsed.options}
    if isinstance(given, (str, os.PathLike)):
        return str(given) in known
    return isinstance(given, (list, tuple)) and bool(given) and {str(word) for word in given} <= known


def _of_merge(error: Exception, cfg: CfgNode, given: Any) -> str:
    is_file = isinstance(given, (str, os.PathLike))
    if is_file and not os.path.isfile(given):
        return f"there is no config file {given}{_near_files(Path(given))}"
    said = f"it is no YAML ({one_line(error)[:160]})" if isinstance(error, yaml.YAMLError) else said_by(error)
    key = said.rpartition("key: ")[2] if "on-existent" in said else ""
    return f"{given if is_file else 'options'}: {said}{_near(key, list(flat(cfg))) if key else ''}"


def said_by(error: Exception) -> str:
    """What yacs says is wrong with a setting, in one line; of a KeyError without its quotes."""
    return " ".join(str(error.args[0] if error.args else error).split()) or type(error).__name__


@contextlib.contextmanager
def of_settings(node: str) -> Iterator[None]:
    """For what Dassl makes of a node's settings: a ValueError, as it has it for unknown names, is a UserError."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{node}: {one_line(error)}") from error


@contextlib.contextmanager
def of_reader(cfg: CfgNode) -> Iterator[None]:
    """For the reading of a data set: a name that nobody has, and files that are not there, are UserErrors.

    Such an error has the path, if there is one, as `filename`.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.filename is None:
            raise
        place = f"{error.filename} (DATASET.ROOT is {cfg.DATASET.ROOT})"
        mistake: Any = UserError(f"data set {cfg.DATASET.NAME}: {error.strerror}: {place}")
        mistake.filename = error.filename
        raise mistake from error
    except ValueError:
        check_name(cfg.DATASET.NAME or "", DATASET_REGISTRY.registered_names(), "DATASET.NAME")
        raise


def _near(name: str, known: List[str], count: int = 1) -> str:
    near = difflib.get_close_matches(name, known, n=count, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _near_files(path: Path) -> str:
    """The names most like that of a file which is not there, of those beside it and, for MPL's, of those we bring."""
    names = {one.name for one in path.parent.glob("*.yaml")} if path.parent.is_dir() else set()
    if path.parent.name in _OURS:
        names |= {one.name for folder in _shipped() for one in folder.glob("*.yaml")}
    return _near(path.name, sorted(names), 3) or f"; beside it there is: {', '.join(sorted(names)) or 'nothing'}"


def _shipped() -> List[Path]:
    return [places.configs(), places.configs() / "trainers" / "MPL"]  # in a codebase the first
