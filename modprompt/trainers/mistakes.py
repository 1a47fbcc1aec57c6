"""What a user got wrong in a codebase's files and options, in one line: as this project's own program says it."""

import contextlib
import difflib
import os
from pathlib import Path
from typing import Any, Iterator, List

from dassl.data.datasets import DATASET_REGISTRY
from yacs.config import CfgNode

from modprompt import places
from modprompt.checks import check_name
from modprompt.errors import UserError

_OURS = ("MPL", "ModMPL")  # folders of our config files


def of_merge(cfg: CfgNode, given: Any, error: Exception) -> UserError:
    """What is wrong with something that cannot be merged into a configuration.

    Args:
        cfg: the configuration, perhaps with a part of it merged.
        given: the path of a file, KEY VALUE words or another configuration.
        error: what the merge said.
    """
    if isinstance(error, UserError):
        return error
    where = given if isinstance(given, str) else "options"
    if isinstance(given, str) and not os.path.isfile(given):
        return UserError(f"there is no config file {given}{_near_files(Path(given))}")
    said = " ".join(str(error.args[0] if error.args else error).split())
    key = said.rpartition("key: ")[2] if "on-existent" in said else ""
    return UserError(f"{where}: {said}{_near(key, _all_keys(cfg)) if key else ''}")


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


def _all_keys(node: Any, prefix: str = "") -> List[str]:
    keys: List[str] = []
    for key, value in node.items():
        keys += _all_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys


def _near(name: str, known: List[str], count: int = 1) -> str:
    near = difflib.get_close_matches(name, known, n=count, cutoff=0.3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _near_files(path: Path) -> str:
    """The names most like that of a file which is not there, of those beside it and, for MPL's, of those we bring."""
    names = {one.name for one in path.parent.glob("*.yaml")} if path.parent.is_dir() else set()
    if path.parent.name in _OURS:
        names |= {one.name for folder in _shipped() for one in folder.glob("*.yaml")}
    return _near(path.name, sorted(names), 3) or f"; beside it there is: {', '.join(sorted(names)) or 'nothing'}"


def _shipped() -> List[Path]:
    return [places.configs(), places.configs() / "trainers" / "MPL"]  # in a codebase the first
