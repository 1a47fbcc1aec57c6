"""Defaults for what a command does not name: its data, the method's config, the CLIP. All are decided here.

Nothing named: the embedded model on the digits. Only a root: its content decides (modprompt/data/own_images.py). No
config of the method: that of configs/trainers.yaml for the CLIP. No CLIP: the embedded one, if it knows all names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt import places
from modprompt.checks import some
from modprompt.clip.known import EMBEDDED, plain
from modprompt.data.names import config_file, path_of
from modprompt.errors import UserError
from modprompt.io.files import of_user
from modprompt.io.records import read_yaml
from modprompt.io.settings import Settings
from modprompt.methods.table import BY_NAME, config_of
from modprompt.methods.table import config_file as file_of_method

_OF_SCRIPTS = ("scripts", "few_shot", "cross")  # what scripts/methods.sh reads
_LARGE = "ViT-B/16"
_GIVE = f"--backbone {_LARGE} (OpenAI's weights: 350 MB, downloaded at first use)"
_BACKBONE = "MODEL.BACKBONE."


def configs_by_clip(trainer: str) -> dict[str, str]:
    """A trainer's default configs, {name of a CLIP: name of the config}; empty for one that is not ours."""
    row = read_yaml(places.configs() / "trainers.yaml").get(trainer, {})
    return {clip: config for clip, config in row.items() if clip not in _OF_SCRIPTS}


class Command:
    """A command's files, flags and options, and the defaults for what they do not name.

    Args:
        data_file: what --dataset-config-file gives.
        method_file: what --config-file gives.
        flags: {key: value} of the family's flags.
        options: KEY VALUE words.

    Raises:
        UserError: as Settings.read, and if there is no such file.
    """

    def __init__(self, data_file: str, method_file: str, flags: Mapping[str, Any], options: Sequence[str]) -> None:
        self.flags, self.options = dict(flags), list(options)
        self.words = Settings.read((), flags, options)
        self.data = Settings.read([str(path_of(data_file))] if data_file else [])
        self.trainer = self.value("TRAINER.NAME", self.words)
        self.method = Settings.read([str(file_of_method(method_file, self.trainer))] if method_file else [])
        self.has_data, self.has_method = bool(data_file), bool(method_file)
        self.configs = configs_by_clip(self.trainer)

    def settings(self) -> Settings:
        """All that is given, in order of precedence."""
        return Settings((*self.data.given, *self.method.given, *self.words.given))

    def value(self, key: str, settings: Settings | None = None) -> str:
        """What is given for a key, as text; empty if nothing is."""
        found = (self.settings() if settings is None else settings).get(key)
        return "" if found is None or found.value is None else str(found.value)

    @property
    def takes_all(self) -> str:
        """active, for a run in rounds, which choose from all training images; else empty."""
        rounds = self.value("ACTIVE.ROUNDS")
        in_rounds = rounds != "0" if rounds else self.trainer in BY_NAME and BY_NAME[self.trainer].rounds
        return "active" if in_rounds else ""

    @property
    def clip(self) -> str:
        """The CLIP that is named, by its name or path; empty if none is."""
        return self.value(f"{_BACKBONE}NAME") or self.value(f"{_BACKBONE}PATH")

    def names_nothing(self) -> bool:
        """Whether neither a file nor data nor a CLIP is named."""
        keys = [key for key in self.words if key in ("DATASET.NAME", "DATASET.ROOT") or key.startswith(_BACKBONE)]
        return not (self.has_data or self.has_method or keys)

    def add_words(self, kind: str, config: str, options: Sequence[str] = ()) -> None:
        """Add seed 1 and an output folder if the command gives none; options go before its own."""
        seed = self.value("SEED") or "1"
        if "SEED" not in self.words:
            self.flags["SEED"] = int(seed)
        kind = f"{kind}_{self.takes_all}" if self.takes_all else kind
        self.flags["OUTPUT_DIR"] = self.flags.get("OUTPUT_DIR") or str(
            Path("output", kind, self.trainer, config, f"seed{seed}")
        )
        self.words = Settings.read((), self.flags, [*options, *self.options])


def completed(command: Command, shots: int, takes_all: bool) -> Settings:
    """A command's settings with defaults for what it does not name; a message says what was chosen.

    Args:
        command: what is given.
        shots: training images per class of the embedded default; -1 for all, as always if a run uses all.
        takes_all: whether the program is for runs that use all.

    Raises:
        UserError: if a default cannot be decided; the message says what to give.
    """
    if command.configs.get(EMBEDDED) and command.names_nothing():
        _take_data(command, "digits")
        _take_config(command, EMBEDDED)
        command.add_words("digits", "", ["DATASET.NUM_SHOTS", str(-1 if command.takes_all else shots)])
        return command.settings()
    root = command.value("DATASET.ROOT")
    takes_data = not command.value("DATASET.NAME")
    if takes_data and root and command.trainer:
        from modprompt.data.own_images import kind_of

        kind = kind_of(of_user(root).absolute(), takes_all or bool(command.takes_all))
        _take_data(command, kind)
        print(f"--root {root}: no data set is named; by its content it is read as {kind}")
    elif takes_data and command.configs:
        raise UserError(
            "no data set is named: give --root FOLDER with a folder of images for each class, or "
            "--dataset-config-file NAME (digits is included)"
        )
    if command.configs and not command.has_method:
        clip = command.clip or _embedded(command)
        config = _take_config(command, clip)
        if takes_data:
            command.add_words(of_user(root).absolute().name, config)
    _require_output_outside(command)
    return command.settings()


def _require_output_outside(command: Command) -> None:
    """Raise UserError if a run's output would be in a folder whose folders are classes."""
    output = command.value("OUTPUT_DIR")
    if command.value("DATASET.NAME") != "ImageFolder" or not output:
        return
    root, place = (of_user(path).resolve() for path in (places.data_root(command.value("DATASET.ROOT")), output))
    if root == place or root in place.parents:
        raise UserError(f"--output-dir: {place} would be a class among the images in {root}: give one outside of it")


def _take_data(command: Command, name: str) -> None:
    command.data = Settings.read([str(config_file(name))])


def _take_config(command: Command, clip: str) -> str:
    """Use the trainer's config for a CLIP, and say so; its name."""
    name = command.configs.get(plain(clip))
    config = name or command.configs[_LARGE]
    path = str(config_of(command.trainer, config))
    if not command.names_nothing():
        which = f"its config for {clip}" if name else f"it has no config for {clip}; this is its config for {_LARGE}"
        print(f"{command.trainer} uses {path}: {which}")
    command.method = Settings.read([path])
    return config


def _embedded(command: Command) -> str:
    """The embedded CLIP, if none is named.

    Raises:
        UserError: if it does not know all class names, or the trainer has no config for it.
    """
    from modprompt.clip.tokens import unknown_words
    from modprompt.data.own_images import names_in

    dataset = command.value("DATASET.NAME")
    names = names_in(dataset, of_user(places.data_root(command.value("DATASET.ROOT"))).absolute())
    if names is not None and not names:
        raise UserError(f"no CLIP is named for {dataset}: give {_GIVE}, or {EMBEDDED}, which only knows numerals")
    unknown = unknown_words(names or ())
    if unknown:
        raise UserError(
            f"{EMBEDDED}, which is used if no CLIP is named, has never seen the words "
            f"{some(list(map(repr, unknown)))}: give {_GIVE}"
        )
    if EMBEDDED not in command.configs:
        raise UserError(f"{command.trainer} has no config for {EMBEDDED}, and no other CLIP is named: give {_GIVE}")
    return EMBEDDED
