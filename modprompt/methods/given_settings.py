"""Settings that a user gives for a method: names of other repositories, additions, and settings without effect."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from modprompt.errors import SettingError, UserError
from modprompt.io.settings import Given, Settings, as_text
from modprompt.methods import together
from modprompt.methods.base import Method
from modprompt.methods.parts.capabilities import Only, SecondNode
from modprompt.methods.table import BY_NAME, always_beside, config_of, is_own, unread_of
from modprompt.output import say


def by_own_names(settings: Settings, name: str, cls: type[Method]) -> Settings:
    """Return settings with the names of this project; a message lists the settings that were translated.

    A config file of a method's own repository may set a node that several methods share there. The later of files,
    flags and options takes precedence. If one of them sets both names, the name of this project takes precedence.

    Args:
        settings: what files, flags and options set.
        name: the trainer.
        cls: its method.

    Raises:
        UserError: for a value that only the other repository supports.
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
            explicit = settings.get(named)
            if explicit is not None and layers.index(_layer(explicit)) >= layers.index(_layer(given)):
                kept.append(named)
            else:
                found.append((named, given))
                read.append(f"{key} sets {named} to {as_text(given.value)}")
    parts = {
        "": read,
        "Explicit settings take precedence: ": kept,
        "Ignored, as in the upstream repository: ": unread,
    }
    sentences = [f"{what}{', '.join(dict.fromkeys(keys))}." for what, keys in parts.items() if keys]
    if sentences:
        say(f"{name}: {' '.join(sentences)}")
    return Settings(tuple(found))


def _layer(given: Given) -> str:
    """Return the file that a setting comes from, or "flag" or "option"."""
    return given.source if given.source.startswith("file ") else given.source.partition(" ")[0]


def of_second_node(nodes: Mapping[str, Any], name: str, settings: Settings, cls: type[SecondNode]) -> dict[str, Any]:
    """Return the settings that a second configuration node stands for, by dotted key; a message lists them.

    Args:
        nodes: TRAINER of the merged configuration.
        name: the trainer.
        settings: what files, flags and options set. These settings keep their values.
        cls: the class of the second node.

    Raises:
        SettingError: if a setting of the node does not fit.
    """
    try:
        texts = {key: as_text(one.value) for key, one in settings.items()}
        found = cls.of(cls.in_node(nodes[cls.node.rpartition(".")[2]])).means(texts)
    except SettingError as error:
        raise error.under(cls.node) from None
    taken = {key: value for key, value in found.items() if key not in settings}
    kept = [key for key in found if key not in taken]
    said = ", ".join(f"{key} to {value}" for key, value in taken.items()) or "no other setting"
    also = f" Explicit settings take precedence: {', '.join(kept)}." if kept else ""
    say(f"{name}: the settings in {cls.node} change {said}.{also}")
    return taken


def require_additions(nodes: Mapping[str, Any], name: str, settings: Settings) -> None:
    """Raise an error if a trainer does not support an addition (such as KDPL), or an addition of it is switched off.

    Args:
        nodes: TRAINER of the merged configuration.
        name: the trainer.
        settings: what files, flags and options set.

    Raises:
        SettingError: for an addition that the trainer does not support.
        UserError: for an addition that the trainer always includes.
    """
    for node in together.asked(nodes, name):
        try:
            together.require_takes(name, node)
        except SettingError as error:
            raise error.under(f"TRAINER.{node}") from None
    node = always_beside(name)
    key = f"TRAINER.{node}.ON"
    if node and key in settings and not nodes[node].ON:
        raise UserError(
            f"{settings[key].where}: {key} cannot be False because {name} always includes {node}. To train the "
            f"prompts alone, use the trainer {BY_NAME[name].of}."
        )


def warn_of_unread(nodes: Mapping[str, Any], name: str, own_node: str, second_node: str, settings: Settings) -> None:
    """Warn of settings that the trainer does not read.

    Args:
        nodes: TRAINER of the merged configuration.
        name: the trainer.
        own_node: the node below TRAINER that the trainer reads; empty if it reads none.
        second_node: a second node that the trainer reads; empty if there is none.
        settings: what files, flags and options set.
    """
    for key, replacement in unread_of(name).items():
        if key in settings.on_command_line():
            warnings.warn(f"{key} has no effect because {name} uses {replacement} instead.", stacklevel=2)
    found = [key for key in together.unread(nodes, name) if key in settings]
    if found:
        verb = "has" if len(found) == 1 else "have"
        warnings.warn(f"{', '.join(found)} {verb} no effect on the prompts of {name}.", stacklevel=2)
    of_mpl = f"file {config_of('MPL', '').parent}/"  # a user's own method runs with the images and optimizer of MPL
    keys = [key for key, one in settings.items() if not (is_own(name) and one.source.startswith(of_mpl))]
    _warn_of_other_nodes(keys, name, own_node, second_node, together.asked(nodes, name))


def _warn_of_other_nodes(keys: Sequence[str], name: str, own: str, second: str, additions: Sequence[str]) -> None:
    nodes = {key.split(".")[1] for key in keys if key.startswith("TRAINER.") and key.count(".") > 1}
    others = sorted(f"TRAINER.{node}" for node in nodes - {own, second, *additions})
    if own and others:
        also = f" and TRAINER.{second}" if second else ""
        warnings.warn(
            f"The settings of {', '.join(others)} are ignored because {name} reads only TRAINER.{own}{also}.",
            stacklevel=2,
        )
