"""Config files and command-line options merged into a configuration; mistakes come out as one line."""

import difflib
from pathlib import Path
from typing import List, Sequence

import yaml
from yacs.config import CfgNode

from modprompt.errors import UserError


def dotted_keys(node: CfgNode, prefix: str = "") -> List[str]:
    """All keys of a configuration that hold a value, as A.B.C."""
    keys = []
    for key, value in node.items():
        name = f"{prefix}{key}"
        keys += dotted_keys(value, name + ".") if isinstance(value, CfgNode) else [name]
    return keys


def _check_key(cfg: CfgNode, key: str, where: str) -> None:
    known = dotted_keys(cfg)
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
        raise UserError(f"{where}: there is no config key {key!r}; did you mean {near!r}?")


def merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a YAML file into cfg.

    Raises:
        UserError: if it is missing, no YAML, or sets an unknown key or a value of the wrong type.
    """
    if not Path(path).is_file():
        near = sorted(p.name for p in Path(path).parent.glob("*.yaml")) if Path(path).parent.is_dir() else []
        raise UserError(f"no config file {path}" + (f"; there is: {', '.join(near)}" if near else ""))
    try:
        with open(path, encoding="utf-8") as file:
            given = CfgNode.load_cfg(file)
    except (yaml.YAMLError, AssertionError, AttributeError) as error:
        raise UserError(f"{path} is not a YAML config ({' '.join(str(error).split())[:120]})") from None
    for key in dotted_keys(given):
        _check_key(cfg, key, path)
    try:
        cfg.merge_from_other_cfg(given)
    except (KeyError, ValueError, AssertionError) as error:
        raise UserError(f"{path}: {error.args[0] if error.args else error}") from None


def merge_options(cfg: CfgNode, options: Sequence[str]) -> None:
    """Merge KEY VALUE pairs from the command line into cfg.

    Raises:
        UserError: on an odd number of words, an unknown key or a value of the wrong type.
    """
    if len(options) % 2:
        raise UserError(f"options come as KEY VALUE pairs; the last, {options[-1]!r}, stands alone")
    for key, value in zip(options[0::2], options[1::2]):
        _check_key(cfg, key, "command line")
        try:
            cfg.merge_from_list([key, value])
        except (ValueError, AssertionError) as error:
            raise UserError(f"command line, {key}: {' '.join(str(error).split())}") from None
