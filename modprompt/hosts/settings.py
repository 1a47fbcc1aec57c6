"""Settings in a program of another codebase, which merges config files and options with Dassl and yacs itself.

`patch_yacs` lets the program's merge accept modprompt's settings. `of_program` takes the configuration that the program
has made, compares it with the command line, and completes it as trainers/config.py does for modprompt's own programs.
Programs of this project do not use this module.
"""

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dassl.utils import set_random_seed
from yacs.config import CfgNode

from modprompt.compat import defaults
from modprompt.errors import UserError
from modprompt.io.program_words import KEEP, in_codebase, keeps_settings, record_built, user_words, words_of
from modprompt.io.settings import Given, Settings, as_text, flat, level_of, names_base, read_settings
from modprompt.methods.table import find_config
from modprompt.trainers import backbone, tested_model
from modprompt.trainers.config import RunConfig, add_defaults, decided_by_method, is_number, is_switch
from modprompt.trainers.mode import Mode

MERGES = ("merge_from_file", "merge_from_list", "merge_from_other_cfg")  # the functions of CfgNode that are replaced

_FOLDERS = ("DATASET.ROOT", "OUTPUT_DIR", "RESUME")
_ABSENT = object()
_DASSL = "Dassl 0.6.3"  # the source of a value that the user did not set


# ---- the program's merge


def patch_yacs() -> None:
    """Replace the three merge functions of CfgNode in this process; repeated calls do nothing.

    A codebase's program may have removed the settings of all other trainers from Dassl's defaults, so a merge first
    adds the settings that are missing. yacs compares the type of a new value with the type of the present value, so a
    setting that accepts several types takes the type of the new value first. yacs does not know `_BASE_`, so a config
    file with a base is merged as its key-value pairs.
    """
    for name in MERGES:
        if not is_patched(name):
            setattr(CfgNode, name, _prepared(name))


def is_patched(name: str) -> bool:
    """Return True if a merge function of CfgNode, by its name, is the one of this module."""
    return hasattr(getattr(CfgNode, name), "unpatched")


def _prepared(name: str) -> Any:
    """Wrap a merge function of CfgNode so that it first prepares the configuration."""
    original = getattr(CfgNode, name)

    @functools.wraps(original)
    def merge(self: CfgNode, *args: Any, **kwargs: Any) -> Any:
        source = next(iter((*args, *kwargs.values())), None)
        if isinstance(self.get("TRAINER"), CfgNode) and not self.is_frozen():
            add_defaults(self)
            for key, value in _pairs(source):
                _accept(self, key, value)
        if name == "merge_from_file" and names_base(source):
            return self.merge_from_list([word for pair in read_settings(str(source)).items() for word in pair])
        return original(self, *args, **kwargs)

    vars(merge)["unpatched"] = original
    return merge


def _pairs(source: Any) -> Iterator[tuple[str, Any]]:
    """Return the (dotted key, value) pairs of what is merged; none for the path of a file."""
    if isinstance(source, (list, tuple)):
        yield from zip(map(str, source[0::2]), source[1::2])
    elif isinstance(source, CfgNode):
        yield from flat(source).items()


def _accept(cfg: CfgNode, key: str, value: Any) -> None:
    """Convert the current value of a setting that accepts several types to the type of the new value, in place."""
    placeholder: Any = None
    if is_switch(key):
        placeholder = False if str(value) in ("True", "False") else ""
    elif is_number(key):
        placeholder = _zero_like(value)
    node, name = level_of(cfg, key)
    if placeholder is not None and name in (node or ()):
        node[name] = placeholder  # the merge replaces it at once


def _zero_like(value: Any) -> float | None:
    """Return 0 if yacs reads a value as an integer, 0.0 if it is a float, and None if it is not a number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return None
    is_whole = isinstance(value, int) or (isinstance(value, str) and value.strip().lstrip("+-").isdigit())
    return 0 if is_whole else 0.0


# ---- the program's command line


def with_our_config(given: Sequence[str], spelled: Mapping[str, str] = {}) -> list[str]:
    """Replace a --config-file that does not exist in a command line by the config file of modprompt with the same name.

    A message says so. The words for other trainers are unchanged.

    Args:
        given: the words, with NAME, NAME.yaml or configs/trainers/MPL/NAME.yaml after --config-file.
        spelled: the program's own spelling of flags; see words_of.
    """
    words, flag = words_of(given, spelled), spelled.get("--config-file", "--config-file")
    name = words.value("--config-file")
    folder, _, last = name.rpartition("/")
    trainer = "MPL" if words.trainer() == "ModMPL" else words.trainer()
    ours = (
        find_config(last.removesuffix(".yaml"), trainer) if folder.rpartition("/")[2] in ("", "MPL", "ModMPL") else None
    )
    if ours is None or Path(name).is_file():
        return list(given)
    print(f"The codebase has no config file {name}, so modprompt uses its own config file {ours}.")
    instead, joined = {(flag, name): str(ours)}, {f"{flag}={name}": f"{flag}={ours}"}
    return [instead.get((before, word), joined.get(word, word)) for before, word in zip(["", *given], given)]


# ---- the program's configuration


def of_program(cfg: CfgNode, method: Any = None) -> RunConfig:
    """Return the frozen configuration of a run for a program of another codebase, which passes its own configuration.

    Args:
        cfg: the configuration of the program. It is not changed.
        method: the class of the trainer's method.

    Raises:
        UserError: if a setting does not fit that modprompt's own programs would have rejected.
    """
    record_built(cfg.TRAINER.NAME)
    own = RunConfig.of(cfg)
    if in_codebase():
        own = own.changed(settings_to_restore(own))
    second = None if method is None else method.repository.second_node
    if second is not None:
        raise UserError(
            f"The settings {second.node} are not supported by this program. Use modprompt's own train.py or `modprompt "
            "active`."
        )
    words = user_words()
    own = own.changed(decided_by_method(own, words.options[::2], method))
    if "--eval-only" in words.flags and method is not None:
        model_dir, epoch = words.model_to_test()
        mode = Mode(eval_only=True, model_dir=model_dir, load_epoch=epoch)
        own = own.changed(tested_model.method_settings(own, words.settings(), mode))
    backbone.warn_of_unused_name(own, sys.argv)
    return own.changed(backbone.settings_of_images(own, sys.argv))


class Changed(NamedTuple):
    """A setting whose value differs from the value that the user set: its key, the value set, and the actual value."""

    key: str
    asked: Given
    got: Any

    def __str__(self) -> str:
        asked, got = _short(self.asked.value), _short(self.got)
        if self.asked.source == _DASSL:
            return (
                f"{self.key} is {got} in this codebase's program or its Dassl, instead of the default {asked} of "
                f"{_DASSL}."
            )
        if self.got is _ABSENT:
            return (
                f"{self.key} {asked} ({self.asked.source}) has no effect because the configuration has no such setting."
            )
        return (
            f"{self.key} was set to {asked} ({self.asked.source}), but the codebase's program or config changed the "
            f"value to {got}."
        )

    def wanted(self) -> Any:
        """Return the value that the user set, converted to the type of the current value.

        Raises:
            UserError: if the configuration has no such setting.
        """
        if self.got is _ABSENT:
            raise UserError(f"{KEEP} cannot keep a setting: {self}")
        value = self.asked.value if isinstance(self.got, str) else CfgNode._decode_cfg_value(self.asked.value)
        lists = isinstance(self.got, (tuple, list)) and isinstance(value, (tuple, list))
        return type(self.got)(value) if lists else value


def _short(value: Any) -> str:
    text = as_text(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def changed(cfg: CfgNode, settings: Settings) -> list[Changed]:
    """Return the settings of a configuration that differ from the values that the user set.

    Settings that affect results, were not set, and differ from the default of Dassl 0.6.3 are included.
    """
    values, found = flat(cfg), []
    for key, asked in settings.items():
        from_file = asked.source.startswith("file ")  # a program may merge its two files in either order
        asks = [one.value for name, one in settings.given if name == key] if from_file else [asked.value]
        got = values.get(key, _ABSENT)
        if not any(_same(key, value, got) for value in asks):
            found.append(Changed(key, asked, got))
    others = {key: one for key, one in defaults.differing(cfg).items() if key not in settings}
    return [*found, *(Changed(key, Given(one.pinned, _DASSL), one.found) for key, one in others.items())]


def _same(key: str, asked: Any, got: Any) -> bool:
    if key in _FOLDERS and isinstance(got, str):
        return Path(str(asked)).expanduser().resolve() == Path(got).expanduser().resolve()
    return got is not _ABSENT and as_text(asked) == as_text(got)


def settings_to_restore(cfg: CfgNode) -> dict[str, Any]:
    """Print the settings that a program changed after reading them, and return the values to restore.

    Most often this is the number of epochs.

    Returns:
        With --keep-settings the values that the user set, by dotted key, else nothing. The seed among them is applied.

    Raises:
        UserError: if the user's values cannot be restored.
    """
    try:
        changes = changed(cfg, user_words().settings())
    except UserError as error:
        if keeps_settings():
            raise UserError(f"The settings from the command line cannot be kept ({KEEP}): {error}") from None
        print(f"note: modprompt cannot check whether this program changes the requested settings: {error}")
        return {}
    for one in changes:
        print(f"kept: {one} The requested value is restored." if keeps_settings() else f"note: {one}")
    if keeps_settings():
        values = {one.key: one.wanted() for one in changes}
        if "SEED" in values:
            set_random_seed(values["SEED"])  # the program has already set its own seed
        return values
    if changes:
        print(f"note: to keep your own {'values' if len(changes) > 1 else 'value'} instead, use {KEEP}.")
    return {}
