"""Settings over defaults: one merge, and all checks of keys, types, names and values; mistakes become one message.

Config nodes of a method's repository are translated: a second node of the method's own stands for several settings; in
a node that the repository shares with other methods, each setting becomes one of the method's own. What a run decides
on top: run_config.py.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import dassl.data.transforms.transforms as known_transforms
from dassl.config import cfg_default, get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from yacs.config import CfgNode

from modprompt.checks import check_name, nearest
from modprompt.compat import defaults
from modprompt.errors import SettingError, UserError
from modprompt.fields import kind_of
from modprompt.io.settings import Given, Settings, as_text, level_of
from modprompt.methods.base import Method
from modprompt.methods.parts.capabilities import Only, SecondNode
from modprompt.output import say
from modprompt.trainers import mistakes
from modprompt.trainers.config_nodes import is_switch, method_of

UNREAD = {"TRAINER.COOP.TRAIN_TYPE"}  # in the family's files; nothing reads it in any repository
_ALPHAS = "Read the alphas of every epoch from schedule.json instead."
GONE = {  # keys of earlier versions: what to do instead
    "TRAINER.PROMPTKD.ON": "Use the trainer PromptKD, or add TRAINER.KDPL.ON True to CoOp, MaPLe and similar trainers.",
    "TRAINER.DPLSEARCH.WRITE_NPY": _ALPHAS,
    "TRAINER.TRAINERSUPERNET.WRITE_NPY": _ALPHAS,
    "MODEL.COMPILE": "The encoders of a model from the Python API can still be compiled with torch.compile.",
    "TEST.FEATURE_CACHE": "Store the features of a test with TEST.KEEP_FEATURES True, and reuse the features in a test "
    "of the same prompts with TEST.FEATURES_OF.",
}


class Fault(NamedTuple):
    """What is wrong with a setting."""

    key: str
    text: str


def dotted_keys(node: CfgNode, prefix: str = "") -> list[str]:
    """All keys of a configuration that hold a value, as A.B.C."""
    keys = []
    for key, value in node.items():
        name = f"{prefix}{key}"
        keys += dotted_keys(value, name + ".") if isinstance(value, CfgNode) else [name]
    return keys


def _number(value: Any) -> int | float | None:
    """A value that is a number, or the number that its text says; None if it is neither."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                pass
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def fitting(default: Any, value: Any) -> Any:
    """A number or its text in the type of its setting's default; all else, and 0.5 for a whole default, unchanged."""
    number = _number(value)
    if number is None or _number(default) is None or isinstance(default, str):
        return value
    try:
        whole = isinstance(default, int) and isinstance(number, float) and number.is_integer()
        return float(number) if isinstance(default, float) else int(number) if whole else number
    except OverflowError:
        return value


def _merge_one(cfg: CfgNode, key: str, given: Given) -> None:
    """Merge a known setting into cfg, in place; yacs's ValueError and the like if its type is wrong."""
    node, leaf = level_of(cfg, key)
    if given.is_flag:  # yacs must not read it as Python: a folder may be called 1
        node[leaf] = tuple(given.value) if isinstance(given.value, list) else given.value
        return
    if is_switch(key) and as_text(given.value) in ("True", "False"):  # which yacs would not accept as a text
        node[leaf] = as_text(given.value)
        return
    if node[leaf] is not None and as_text(given.value) == str(None):  # which yacs accepts for any type
        raise ValueError("Type mismatch")
    value = fitting(node[leaf], copy.deepcopy(given.value))
    of_method = key.startswith("TRAINER.") and key.count(".") > 1
    if of_method and isinstance(value, float) and _number(node[leaf]) is not None:
        node[leaf] = float(node[leaf])  # PromptSRC's weights are whole in the family's files, but any number is valid
    cfg.merge_from_list([key, value])


def _unknown(key: str, known: Sequence[str], where: str) -> Fault:
    if key in GONE:
        return Fault(key, f"{where}: the setting {key} was removed in an earlier version. {GONE[key]}")
    return Fault(key, f"{where}: unknown setting {key!r}{nearest(key, known, cutoff=0.3)}")


def _merge_faults(cfg: CfgNode, settings: Settings) -> list[Fault]:
    """Merge settings into cfg, in place; those that do not fit."""
    known, faults = dict.fromkeys(dotted_keys(cfg)), []
    for key, given in settings.given:
        if key in UNREAD:
            say(
                f"{key} {given.value} ({given.where}) is ignored. The upstream repository does not use this setting "
                "either."
            )
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
                said = f"the value must be {kind_of(node[name])}, got {given.value!r}"
            faults.append(Fault(key, f"{given.where}, {key}: {said}"))
    return list(dict.fromkeys(faults))


def _value_faults(cfg: CfgNode) -> Iterator[Fault]:
    """Settings whose faults would otherwise show late, not at all, or as an error of another library."""
    try:
        defaults.require_possible(cfg)
    except SettingError as error:
        yield from (Fault(key, f"{key}{text}") for key, text in error.faults)
    asked = cfg.INPUT.TRANSFORMS
    if not isinstance(asked, (list, tuple)):
        yield Fault("INPUT.TRANSFORMS", f"INPUT.TRANSFORMS must be a list of names, got {asked!r}.")
        return
    known: list[str] = list(known_transforms.AVAI_CHOICES)
    for name in asked:
        if name not in known:
            said = f"INPUT.TRANSFORMS contains the unknown transform {name!r}. Supported transforms: {', '.join(known)}"
            yield Fault("INPUT.TRANSFORMS", said)


def _name_faults(cfg: CfgNode) -> Iterator[Fault]:
    """The trainer and the data set, if they are not registered."""
    for key, name, registry, label in (
        ("TRAINER.NAME", cfg.TRAINER.NAME, TRAINER_REGISTRY, "--trainer"),
        ("DATASET.NAME", cfg.DATASET.NAME, DATASET_REGISTRY, "DATASET.NAME"),
    ):
        known = registry.registered_names()
        try:
            check_name(name or "", known, label)
        except UserError as error:
            kind = "trainer" if label == "--trainer" else "data set"
            custom = (
                "" if not name or nearest(name, known) else f" To use a custom {kind}, give its module with --import."
            )
            yield Fault(key, f"{_sentence(str(error))}{custom}")
            if not cfg.DATASET.NAME:  # the trainer's name brings one if no file is given
                return


def _complain(faults: Sequence[Fault]) -> None:
    if faults:
        raise UserError(" ".join(_sentence(fault.text) for fault in faults))


def _sentence(text: str) -> str:
    """Return the text of a message with a full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _checked(cfg: CfgNode, settings: Settings) -> list[Fault]:
    """Merge settings into cfg, in place; all faults of keys, types, names and values."""
    faults = _merge_faults(cfg, settings)
    found = [*_name_faults(cfg), *_value_faults(cfg)]
    if faults:  # a setting that was not merged still has its default, whose fault is not the user's
        wrong = {fault.key for fault in faults}
        found = [fault for fault in found if fault.key in settings and fault.key not in wrong]
    return faults + [_placed(fault, settings) for fault in found]


def _placed(fault: Fault, settings: Settings) -> Fault:
    """A fault, with the file's name if a file gives the value."""
    given: Given | None = settings.get(fault.key)
    if given is None or not given.source.startswith("file "):
        return fault
    return fault._replace(text=f"{given.where}: {fault.text}")


def warn_of_other_nodes(given: Sequence[str], trainer: str, own: str, second: str = "") -> None:
    """Warn of settings of other methods' nodes, which a trainer that reads TRAINER.<own> ignores.

    Args:
        given: dotted keys from files and options.
        trainer: its name.
        own: its node; empty for a trainer that reads none.
        second: its second node, TRAINER.<second>; empty if there is none.
    """
    parts = [key.split(".") for key in given if key.startswith("TRAINER.") and key.count(".") > 1]
    others = sorted({f"TRAINER.{part[1]}" for part in parts if part[1] not in (own, second)})
    if own and others:
        also = f" and TRAINER.{second}" if second else ""
        warnings.warn(
            f"The settings of {', '.join(others)} are ignored because {trainer} reads only TRAINER.{own}{also}.",
            stacklevel=2,
        )


def merged(settings: Settings) -> CfgNode:
    """Dassl 0.6.3's defaults and the registered trainers', with settings over them; frozen.

    Args:
        settings: what files, flags and options give, under the names of the trainer's method.

    Raises:
        UserError: with all unknown keys, wrong types, unknown names and impossible values.
    """
    defaults.pin(cfg_default)  # those of a codebase's Dassl may differ
    cfg = get_cfg_default()
    _complain(_checked(cfg, settings))
    cfg.freeze()
    return cfg


def merge(cfg: CfgNode, settings: Settings) -> None:
    """Merge settings into cfg, in place.

    Raises:
        UserError: with all unknown keys and wrong types.
    """
    _complain(_merge_faults(cfg, settings))


def stands_for(cfg: CfgNode, given: Mapping[str, Given], cls: type[SecondNode]) -> dict[str, Any]:
    """The settings that a second node stands for, with their values, by dotted key; a message names them.

    Args:
        cfg: the configuration of a run, merged.
        given: what files, flags and options give, by dotted key: these settings stay.
        cls: the class of the node.

    Raises:
        SettingError: if a setting of the node does not fit.
    """
    try:
        texts = {key: as_text(one.value) for key, one in given.items()}
        found = method_of(cls, cfg.TRAINER[cls.node.rpartition(".")[2]]).means(texts)
    except SettingError as error:
        raise error.under(cls.node) from None
    taken = {key: value for key, value in found.items() if key not in given}
    kept = [key for key in found if key not in taken]
    said = ", ".join(f"{key} to {value}" for key, value in taken.items()) or "no other setting"
    also = f" Explicit settings take precedence: {', '.join(kept)}." if kept else ""
    say(f"{cfg.TRAINER.NAME}: the settings in {cls.node} change {said}.{also}")
    return taken


def _layer(given: Given) -> str:
    """The file that gives it, or that it is a flag, or an option."""
    return given.source if given.source.startswith("file ") else given.source.partition(" ")[0]


def _is_given_after(own: Given | None, given: Given, layers: Sequence[str]) -> bool:
    return own is not None and layers.index(_layer(own)) >= layers.index(_layer(given))


def own_names(settings: Settings, name: str, cls: type[Method]) -> Settings:
    """Settings with those of shared nodes under the method's own names; a message names them.

    The later of files, flags and options wins; if one of them gives both, the method's own name wins.

    Args:
        settings: what files, flags and options give.
        name: of the trainer.
        cls: its method.

    Raises:
        UserError: on a value that its repository knows and this method does not.
    """
    found: list[tuple[str, Given]] = []
    read, unread, kept = [], [], []
    layers = list(dict.fromkeys(_layer(given) for _, given in settings.given))
    for key, given in settings.given:
        own = cls.repository.shared.get(key)
        if own is None:
            found.append((key, given))
        elif isinstance(own, Only):
            if as_text(given.value) != own.value:
                raise UserError(f"{given.where}: {key} must be {own.value} for {name}, got {given.value!r}.")
        elif not own:
            unread.append(key)
        else:
            named = own if own.startswith("TRAINER.") else f"{cls.node}.{own}"
            if _is_given_after(settings.get(named), given, layers):
                kept.append(named)
            else:
                found.append((named, given))
                read.append(f"{key} sets {named} to {as_text(given.value)}")
    if read or unread or kept:
        parts = {
            "": read,
            "Explicit settings take precedence: ": kept,
            "Ignored, as in the upstream repository: ": unread,
        }
        sentences = (f"{what}{', '.join(dict.fromkeys(keys))}." for what, keys in parts.items() if keys)
        say(f"{name}: {' '.join(sentences)}")
    return Settings(tuple(found))
