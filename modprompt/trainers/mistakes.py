"""A user's mistakes in a codebase's files and options as one message, in the words of this project's own program."""

import contextlib
import difflib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yacs.config
import yaml
from dassl.data.datasets import DATASET_REGISTRY
from yacs.config import CfgNode

from modprompt import places
from modprompt.checks import check_name
from modprompt.errors import UserError
from modprompt.io.settings import flat
from modprompt.programs import one_line

_MERGES = ("merge_from_file", "merge_from_list")
_OURS = ("MPL", "ModMPL")  # folders of our config files


def of_merge(error: BaseException) -> str:
    """The message for an error of yacs, if the user's file or options did not fit; else empty."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if code.co_filename == yacs.config.__file__ and code.co_name in _MERGES:
            cfg, given = (frame.f_locals[name] for name in code.co_varnames[:2])
            return _line(error, cfg, given) if _is_users(given) else ""
    return ""


def _is_users(given: Any) -> bool:
    words = {*sys.argv[1:], *(word.partition("=")[2] for word in sys.argv[1:])}
    if isinstance(given, (str, os.PathLike)):
        return str(given) in words
    return isinstance(given, (list, tuple)) and bool(given) and {str(word) for word in given} <= words


def _line(error: BaseException, cfg: CfgNode, given: Any) -> str:
    is_file = isinstance(given, (str, os.PathLike))
    if is_file and not os.path.isfile(given):
        return f"there is no config file {given}{_near_files(Path(given))}"
    said = f"it is not valid YAML ({one_line(error)[:160]})" if isinstance(error, yaml.YAMLError) else said_by(error)
    key = said.rpartition("key: ")[2] if "on-existent" in said else ""
    return f"{given if is_file else 'options'}: {said}{_near(key, list(flat(cfg))) if key else ''}"


def said_by(error: BaseException) -> str:
    """What yacs says is wrong with a setting, as one line; a KeyError's without its quotes."""
    return " ".join(str(error.args[0] if error.args else error).split()) or type(error).__name__


@contextlib.contextmanager
def of_settings(node: str) -> Iterator[None]:
    """Around Dassl's use of a node's settings: its ValueError, as for unknown names, becomes a UserError."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{node}: {one_line(error)}") from error


@contextlib.contextmanager
def of_reader(cfg: CfgNode) -> Iterator[None]:
    """Around the reading of a data set: an unknown name and missing files become UserErrors.

    For a missing file the error has its path as `filename`.
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


def _near(name: str, known: list[str], count: int = 1) -> str:
    near = difflib.get_close_matches(name, known, n=count, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _near_files(path: Path) -> str:
    """The names most like that of a missing file, among the files in its folder and, for MPL, among ours."""
    names = {one.name for one in path.parent.glob("*.yaml")} if path.parent.is_dir() else set()
    if path.parent.name in _OURS:
        names |= {one.name for folder in _shipped() for one in folder.glob("*.yaml")}
    return _near(path.name, sorted(names), 3) or f"; its folder has: {', '.join(sorted(names)) or 'nothing'}"


def _shipped() -> list[Path]:
    return [places.configs(), places.configs() / "trainers" / "MPL"]  # in a codebase the first
