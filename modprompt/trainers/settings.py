"""Config files and command-line options merged into a configuration; mistakes come out as one line."""

import difflib
import warnings
from typing import List, Sequence

from yacs.config import CfgNode

from modprompt.errors import UserError
from modprompt.runs.settings import pairs, read_settings


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
        if key.startswith("--"):
            raise UserError(f"{where}: the flag {key} must stand before the KEY VALUE options")
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.3)
        raise UserError(f"{where}: there is no config key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _get(cfg: CfgNode, key: str):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def _weight(cfg: CfgNode, key: str, value):
    """The value of a weight or an epoch of PromptSRC: whole in the family's files, but any number will do."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    if number.is_integer() and isinstance(_get(cfg, key), int):
        return int(number)
    *path, leaf = key.split(".")
    _get(cfg, ".".join(path))[leaf] = float(_get(cfg, key))
    return number


def _fitting(cfg: CfgNode, key: str, value):
    """The value as yacs wants it: a whole number becomes a float where one is expected (OPTIM.LR 1)."""
    if key.endswith("_LOSS_WEIGHT") or ".GPA_" in key:
        return _weight(cfg, key, value)
    if isinstance(_get(cfg, key), float) and not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError):
            return value
    return value


def check_values(cfg: CfgNode) -> None:
    """Check settings whose faults would otherwise show late or not at all; all findings at once.

    Raises:
        UserError: if there is any.
    """
    node, faults = cfg.INPUT, []

    def expect(fits, key, meaning, value):
        if not fits:
            faults.append(f"{key} must be {meaning}, got {value!r}")

    expect(len(node.SIZE) == 2 and min(node.SIZE) > 0, "INPUT.SIZE", "two numbers of pixels", node.SIZE)
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        expect(len(node[key]) == 3, f"INPUT.{key}", "three numbers", node[key])
    expect(not node.NO_TRANSFORM, "INPUT.NO_TRANSFORM", "False for a CLIP", node.NO_TRANSFORM)
    expect(cfg.DATALOADER.K_TRANSFORMS == 1, "DATALOADER.K_TRANSFORMS", "1", cfg.DATALOADER.K_TRANSFORMS)
    for name in ("TRAIN_X", "TEST"):
        size = cfg.DATALOADER[name].BATCH_SIZE
        expect(size > 0, f"DATALOADER.{name}.BATCH_SIZE", "at least 1", size)
    expect(cfg.OPTIM.MAX_EPOCH > 0, "OPTIM.MAX_EPOCH", "at least 1", cfg.OPTIM.MAX_EPOCH)
    expect(cfg.TRAIN.PRINT_FREQ > 0, "TRAIN.PRINT_FREQ", "at least 1", cfg.TRAIN.PRINT_FREQ)
    expect(cfg.TEST.SPLIT in ("test", "val"), "TEST.SPLIT", "test or val", cfg.TEST.SPLIT)
    models = ("last_step", "best_val")
    expect(cfg.TEST.FINAL_MODEL in models, "TEST.FINAL_MODEL", "last_step or best_val", cfg.TEST.FINAL_MODEL)
    if faults:
        raise UserError("; ".join(faults))


def warn_of_other_nodes(given: Sequence[str], trainer: str, own: str) -> None:
    """Warn of settings of other methods' nodes, which a trainer that reads TRAINER.<own> does not see.

    Args:
        given: dotted keys from files and options.
        trainer: its name.
        own: its node; empty for a trainer that reads none.
    """
    parts = [key.split(".") for key in given if key.startswith("TRAINER.") and key.count(".") > 1]
    others = sorted({f"TRAINER.{part[1]}" for part in parts if part[1] != own})
    if own and others:
        warnings.warn(f"{', '.join(others)} is set, but {trainer} reads TRAINER.{own} alone", stacklevel=2)


def merge_file(cfg: CfgNode, path: str) -> List[str]:
    """Merge a YAML file into cfg; gives the keys that it sets.

    Raises:
        UserError: if it is missing, no YAML, or sets an unknown key or a value of the wrong type.
    """
    given = read_settings(path)
    for key in given:
        _check_key(cfg, key, path)
    try:
        cfg.merge_from_list([word for key, value in given.items() for word in (key, _fitting(cfg, key, value))])
    except (KeyError, ValueError, AssertionError) as error:
        raise UserError(f"{path}: {error.args[0] if error.args else error}") from None
    return list(given)


def merge_options(cfg: CfgNode, options: Sequence[str]) -> None:
    """Merge KEY VALUE pairs from the command line into cfg.

    Raises:
        UserError: on an odd number of words, an unknown key or a value of the wrong type.
    """
    for key, value in pairs(options):
        _check_key(cfg, key, "command line")
        try:
            cfg.merge_from_list([key, _fitting(cfg, key, value)])
        except (ValueError, AssertionError) as error:
            raise UserError(f"command line, {key}: {' '.join(str(error).split())}") from None
