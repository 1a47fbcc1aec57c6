"""The files that --config-file and --dataset-config-file mean: an existing path, else one of this project's.

This project's are found by name (vit_b4_c1_add2_rm1, eurosat) and by their path in a checkout
(configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml), from any folder.
"""

from __future__ import annotations

from pathlib import Path

from modprompt import places
from modprompt.checks import known_names, nearest
from modprompt.data import names
from modprompt.errors import UserError
from modprompt.methods.table import config_of

_ENDING = ".yaml"


def of_method(word: str, trainer: str) -> str:
    """The path of a method's config; empty for an empty word.

    Args:
        word: what --config-file gives.
        trainer: whose configs are found by name; empty for none.

    Raises:
        UserError: if there is none; the trainer's are named.
    """
    found = _by_path(word)
    if found or not word:
        return found
    path = config_of(trainer, _name(word))
    if trainer and path.is_file() and _is_name(word):
        return str(path)
    _require_no_folder(word)
    there = sorted(one.stem for one in path.parent.glob(f"*{_ENDING}")) if trainer else []
    known = f"; {trainer} has {', '.join(there)}, by name{nearest(_name(word), there)}" if there else ""
    raise UserError(f"no config file {word}{known}")


def of_data(word: str) -> str:
    """The path of a data set's config, also by either of its two names; empty for an empty word.

    Raises:
        UserError: if there is none; known ones are named.
    """
    found = _by_path(word)
    if found or not word:
        return found
    if _is_name(word):
        try:
            return str(names.config_file(names.find(word)[0]))
        except UserError:
            _require_no_folder(word)
            raise
    _require_no_folder(word)
    raise UserError(f"no config file {word}{known_names(_name(word), names.config_names())}")


def _by_path(word: str) -> str:
    """The path itself, or that of this project's file; empty if there is neither."""
    path = Path(word)
    if word and path.exists() and not path.is_dir():
        return word
    first, *rest = path.parts or ("",)
    shipped = places.configs().joinpath(*rest)
    return str(shipped) if first == "configs" and shipped.is_file() else ""


def _require_no_folder(word: str) -> None:
    if Path(word).is_dir():
        raise UserError(f"{word} is a folder, not a config file: give your own images, or data sets, as --root")


def _is_name(word: str) -> bool:
    return "/" not in word and not word.endswith(_ENDING)


def _name(word: str) -> str:
    name = word.rpartition("/")[2]
    return name[: -len(_ENDING)] if name.endswith(_ENDING) else name
