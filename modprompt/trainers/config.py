"""From settings to the configuration of a run: defaults, one merge, all checks; mistakes come out as one line."""

import copy
import difflib
import warnings
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Union

from dassl.config import cfg_default, get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from yacs.config import CfgNode

from modprompt import places
from modprompt.checks import check_name
from modprompt.compat import defaults
from modprompt.errors import UserError
from modprompt.fields import kind_of
from modprompt.io.image_rules import FAMILY
from modprompt.io.images import READ_AS
from modprompt.io.settings import Given, Settings, as_text, level_of
from modprompt.trainers import config_aliases, mistakes, setting_values
from modprompt.trainers.config_nodes import is_switch


class Fault(NamedTuple):
    """What is wrong with a setting."""

    key: str
    text: str


def dotted_keys(node: CfgNode, prefix: str = "") -> List[str]:
    """All keys of a configuration that hold a value, as A.B.C."""
    keys = []
    for key, value in node.items():
        name = f"{prefix}{key}"
        keys += dotted_keys(value, name + ".") if isinstance(value, CfgNode) else [name]
    return keys


def _number(value: Any) -> Union[int, float, None]:
    """The number that a value is or that its text says; None if there is none."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                pass
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def fitting(default: Any, value: Any) -> Any:
    """A number or its text in the type of its setting's default; 0.5 for a whole one, and all else, as it is."""
    number = _number(value)
    if number is None or _number(default) is None or isinstance(default, str):
        return value
    try:
        whole = isinstance(default, int) and isinstance(number, float) and number.is_integer()
        return float(number) if isinstance(default, float) else int(number) if whole else number
    except OverflowError:
        return value


def _merge_one(cfg: CfgNode, key: str, given: Given) -> None:
    """Merge a known setting into cfg, in place; ValueError and the like if its type is wrong, as yacs says it."""
    node, leaf = level_of(cfg, key)
    if given.is_flag:  # no text that yacs should read as Python: a folder may be called 1
        node[leaf] = tuple(given.value) if isinstance(given.value, list) else given.value
        return
    if is_switch(key) and as_text(given.value) in ("True", "False"):  # which yacs would not take for a text
        node[leaf] = as_text(given.value)
        return
    if node[leaf] is not None and as_text(given.value) == str(None):  # which yacs takes for a value of any type
        raise ValueError("Type mismatch")
    value = fitting(node[leaf], copy.deepcopy(given.value))
    of_method = key.startswith("TRAINER.") and key.count(".") > 1
    if of_method and isinstance(value, float) and _number(node[leaf]) is not None:
        node[leaf] = float(node[leaf])  # PromptSRC's weights are whole in the family's files, but any number will do
    cfg.merge_from_list([key, value])


def _unknown(key: str, known: Sequence[str], where: str) -> Fault:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return Fault(key, f"{where}: there is no config key {key!r}{hint}")


def _merge_faults(cfg: CfgNode, settings: Settings) -> List[Fault]:
    """Merge settings into cfg, in place, and tell which do not fit."""
    known, faults = dict.fromkeys(dotted_keys(cfg)), []
    for key, given in settings.given:
        if key in config_aliases.UNREAD:
            print(f"{key} {given.value} ({given.where}): nothing reads it, here as in the repository that has it")
            continue
        if key not in known:
            faults.append(_unknown(key, list(known), given.where))
            continue
        try:
            _merge_one(cfg, key, given)
        except (KeyError, ValueError, AssertionError) as error:
            said = mistakes.said_by(error)
            if said.startswith("Type mismatch"):  # yacs's, which names Python's types
                node, name = level_of(cfg, key)
                said = f"must be {kind_of(node[name])}, got {given.value!r}"
            faults.append(Fault(key, f"{given.where}, {key}: {said}"))
    return list(dict.fromkeys(faults))


def _value_faults(cfg: CfgNode) -> Iterator[Fault]:
    """Settings whose faults would otherwise show late or not at all."""
    for key, text in setting_values.faults(cfg):
        yield Fault(key, text)


def _name_faults(cfg: CfgNode) -> Iterator[Fault]:
    """The trainer and the data set, if nobody has registered them."""
    for key, name, registry, label in (
        ("TRAINER.NAME", cfg.TRAINER.NAME, TRAINER_REGISTRY, "--trainer"),
        ("DATASET.NAME", cfg.DATASET.NAME, DATASET_REGISTRY, "DATASET.NAME"),
    ):
        try:
            check_name(name or "", registry.registered_names(), label)
        except UserError as error:
            yield Fault(key, str(error))
            if not cfg.DATASET.NAME:  # the trainer's name brings one where no file is given
                return


def _complain(faults: Sequence[Fault]) -> None:
    if faults:
        raise UserError("; ".join(fault.text for fault in faults))


def check_values(cfg: CfgNode) -> None:
    """Raise UserError, with all findings at once, if settings have values that no run can have."""
    _complain(list(_value_faults(cfg)))


def _checked(cfg: CfgNode, settings: Settings) -> List[Fault]:
    """Merge settings into cfg, in place; all faults of keys, types, names and values."""
    faults = _merge_faults(cfg, settings)
    found = [*_name_faults(cfg), *_value_faults(cfg)]
    if faults:  # what was not merged has its default still, whose fault is not the user's
        wrong = {fault.key for fault in faults}
        found = [fault for fault in found if fault.key in settings and fault.key not in wrong]
    return faults + [_placed(fault, settings) for fault in found]


def _placed(fault: Fault, settings: Settings) -> Fault:
    """A fault of a value that a file gives names the file."""
    given: Optional[Given] = settings.get(fault.key)
    if given is None or not given.source.startswith("file "):
        return fault
    return fault._replace(text=f"{given.where}: {fault.text}")


def warn_of_other_nodes(given: Sequence[str], trainer: str, own: str, second: str = "") -> None:
    """Warn of settings of other methods' nodes, which a trainer that reads TRAINER.<own> does not see.

    Args:
        given: dotted keys from files and options.
        trainer: its name.
        own: its node; empty for a trainer that reads none.
        second: a second node of its, TRAINER.<second>; empty if there is none.
    """
    parts = [key.split(".") for key in given if key.startswith("TRAINER.") and key.count(".") > 1]
    others = sorted({f"TRAINER.{part[1]}" for part in parts if part[1] not in (own, second)})
    if own and others:
        also = f" and TRAINER.{second}" if second else ""
        warnings.warn(f"{', '.join(others)} is set, but {trainer} reads TRAINER.{own}{also} alone", stacklevel=2)


def _warn_of_unused_search(cfg: CfgNode, settings: Settings, own_node: str) -> None:
    """Warn of settings of a search where there is none, or one that has its own node."""
    given = [key for key in settings if key.startswith("SEARCH.") and key != "SEARCH.ON"]
    if given and not cfg.SEARCH.ON:
        why = f"{cfg.TRAINER.NAME} reads {own_node}" if own_node else "SEARCH.ON is False"
        warnings.warn(f"{', '.join(given)} is not used: {why}", stacklevel=3)


def _under_own_names(settings: Settings) -> Settings:
    """Settings of nodes that the trainer's method shares in its repository as the method's own."""
    name = str(settings["TRAINER.NAME"].value) if "TRAINER.NAME" in settings else ""
    known = name in TRAINER_REGISTRY.registered_names()
    method = getattr(TRAINER_REGISTRY.get(name), "method_class", None) if known else None
    return settings if method is None else config_aliases.own_names(settings, name, method)


def build(settings: Settings, tests: bool = False) -> CfgNode:
    """The configuration of a run, frozen: Dassl 0.6.3's defaults and the registered trainers', and settings over them.

    Args:
        settings: what files, flags and options give.
        tests: whether the run only tests; a trainer that trains nothing never does else.

    Raises:
        UserError: with all unknown keys, wrong types, unknown names and impossible values.
    """
    defaults.pin(cfg_default)  # those of a codebase's Dassl may be others
    cfg = get_cfg_default()
    settings = _under_own_names(settings)
    _complain(_checked(cfg, settings))
    cfg.DATASET.ROOT = places.data_root(cfg.DATASET.ROOT)
    if READ_AS not in settings:
        cfg.INPUT.READ_AS = getattr(DATASET_REGISTRY.get(cfg.DATASET.NAME), "read_as", FAMILY)
    own_node = getattr(TRAINER_REGISTRY.get(cfg.TRAINER.NAME), "node_name", "")
    cfg.TEST.ONLY = tests or not own_node
    if cfg.TEST.BASE_NEW and not (cfg.TEST.ONLY and cfg.DATASET.SUBSAMPLE_CLASSES == "all"):
        raise UserError("TEST.BASE_NEW True: it is for a test alone (--eval-only), with DATASET.SUBSAMPLE_CLASSES all")
    method = getattr(TRAINER_REGISTRY.get(cfg.TRAINER.NAME), "method_class", None)
    always = getattr(method, "always_searches", False)
    cfg.SEARCH.RUNS = bool(cfg.SEARCH.ON or always)
    if method is not None and own_node and not tests:
        cfg.DATASET.CHOOSE_BY = method.chooses_by(cfg.TRAINER[own_node])
    if cfg.SEARCH.ON and not own_node:
        raise UserError(f"SEARCH.ON True: {cfg.TRAINER.NAME} learns no prompts")
    _warn_of_unused_search(cfg, settings, f"TRAINER.{own_node}" if always else "")
    second = getattr(method, "second_node", None)
    warn_of_other_nodes(list(settings), cfg.TRAINER.NAME, own_node, second.node.rpartition(".")[2] if second else "")
    if second is not None:
        config_aliases.stand_in(cfg, settings, second)
    cfg.freeze()
    return cfg


def of_one_training(cfg: CfgNode, **changes: Any) -> CfgNode:
    """A configuration without rounds of active learning, frozen: that of one of its trainings, or of a test.

    Args:
        cfg: of the run.
        changes: other values of top-level keys.
    """
    one = cfg.clone()
    one.defrost()
    one.ACTIVE.ROUNDS = 0
    for key, value in changes.items():
        one[key] = value
    one.freeze()
    return one


def merge(cfg: CfgNode, settings: Settings) -> None:
    """Merge settings into cfg, in place.

    Raises:
        UserError: with all unknown keys and wrong types.
    """
    _complain(_merge_faults(cfg, settings))
