"""Defaults for what a command does not name: data, the method's config, the CLIP, seed and output folder.

Nothing named: the embedded model on the digits. Only a root: its content decides (modprompt/data/own_images.py). No
config of the method: that of configs/trainers.yaml for the CLIP. No CLIP: the embedded one, if it knows all names. No
seed: 1. No output folder: output/DATA/shots_N/TRAINER/CONFIG/seed1, so that each run has its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from modprompt import places
from modprompt.checks import some
from modprompt.clip.known import EMBEDDED, plain
from modprompt.data.names import config_file, path_of, registered_names
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io.files import of_user
from modprompt.io.records import read_yaml
from modprompt.io.settings import FLAGS, Given, Settings
from modprompt.methods.table import BY_NAME, config_of
from modprompt.methods.table import config_file as file_of_method

_OF_SCRIPTS = ("scripts", "few_shot", "cross")  # what scripts/methods.sh reads
_LARGE = "ViT-B/16"
_GIVE = f"--backbone {_LARGE} (OpenAI's weights: 350 MB, downloaded at first use)"
_BACKBONE = "MODEL.BACKBONE."
_OWN_IMAGES = ("ImageFolder", "Unlabelled")  # readers of a folder of anybody's: its name says more than theirs


def configs_by_clip(trainer: str) -> dict[str, str]:
    """A trainer's default configs, {name of a CLIP: name of the config}; empty for one that is not ours."""
    row = read_yaml(places.configs() / "trainers.yaml").get(trainer, {})
    return {clip: config for clip, config in row.items() if clip not in _OF_SCRIPTS}


class Command:
    """A command's files, flags and options (flags.parse_args), and the defaults for what they do not name.

    Raises:
        UserError: as Settings.read, and if there is no such file.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        flags = {key: getattr(args, flag[2:].replace("-", "_")) for key, flag in FLAGS.items()}
        empty = ["OUTPUT_DIR", ""] if args.output_dir == "" else []  # a script's variable that is not set: no default
        self.words = Settings.read((), flags, [*empty, *args.opts])
        self.defaults: list[tuple[str, Given]] = []  # above files, below flags and options
        self.tested = run_folder.describe_model(args.model_dir, args.load_epoch) if args.eval_only else None
        self.trainer = str(self.words["TRAINER.NAME"].value) if "TRAINER.NAME" in self.words else ""
        self.configs = configs_by_clip(self.trainer)
        self.take_data(path_of(args.dataset_config_file) if args.dataset_config_file else None)
        self.take_config(file_of_method(args.config_file, self.trainer) if args.config_file else None)

    def take_data(self, path: Path | None) -> None:
        """Use the data set's config at a path; None for none."""
        self.data_file, self.data = path, Settings.read([] if path is None else [str(path)])

    def take_config(self, path: Path | None) -> None:
        """Use the method's config at a path; None for none."""
        self.method_file, self.method = path, Settings.read([] if path is None else [str(path)])

    def settings(self) -> Settings:
        """All that is given, in order of precedence."""
        return Settings((*self.data.given, *self.method.given, *self.defaults, *self.words.given))

    def value(self, key: str) -> str:
        """What is given for a key, as text; empty if nothing is."""
        found = self.settings().get(key)
        return "" if found is None or found.value is None else str(found.value)

    @property
    def in_rounds(self) -> bool:
        """Whether the run has rounds, which choose from all training images."""
        rounds = self.value("ACTIVE.ROUNDS")
        return rounds != "0" if rounds else self.trainer in BY_NAME and BY_NAME[self.trainer].rounds

    def names_nothing(self) -> bool:
        """Whether neither a file nor data nor a CLIP is named."""
        keys = [key for key in self.words if key in ("DATASET.NAME", "DATASET.ROOT") or key.startswith(_BACKBONE)]
        return not (self.data_file or self.method_file or keys)


def completed(command: Command, takes_all: bool) -> Settings:
    """A command's settings with defaults for what it does not name; a message says what was chosen.

    Args:
        command: what is given.
        takes_all: whether the program is for runs that use all.

    Raises:
        UserError: if a default cannot be decided; the message says what to give.
    """
    if command.configs.get(EMBEDDED) and command.names_nothing():
        command.take_data(config_file("digits"))
        command.take_config(config_of(command.trainer, command.configs[EMBEDDED]))
        command.defaults.append(("DATASET.NUM_SHOTS", Given("-1" if command.in_rounds else "16", "option")))
    else:
        _take_data(command, takes_all)
        if command.configs and command.method_file is None:
            named = command.value(f"{_BACKBONE}NAME") or command.value(f"{_BACKBONE}PATH")
            _take_config(command, named or _embedded(command))
    _take_seed_and_folder(command)
    _require_output_outside(command)
    return command.settings()


def _take_data(command: Command, takes_all: bool) -> None:
    """Read a root without a named data set by its content, and say so."""
    root = command.value("DATASET.ROOT")
    if command.value("DATASET.NAME"):
        return
    if root and command.trainer:
        from modprompt.data.own_images import kind_of

        kind = kind_of(of_user(root).absolute(), takes_all or command.in_rounds)
        command.take_data(config_file(kind))
        print(f"--root {root}: no data set is named; by its content it is read as {kind}")
    elif command.configs:
        raise UserError(
            "no data set is named: give --root FOLDER with a folder of images for each class, or "
            "--dataset-config-file NAME (digits is included)"
        )


def _take_config(command: Command, clip: str) -> None:
    """Use the trainer's config for a CLIP, and say so."""
    name = command.configs.get(plain(clip))
    path = config_of(command.trainer, name or command.configs[_LARGE])
    which = f"its config for {clip}" if name else f"it has no config for {clip}; this is its config for {_LARGE}"
    print(f"{command.trainer} uses {path}: {which}")
    command.take_config(path)


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


def _take_seed_and_folder(command: Command) -> None:
    """Seed 1 and a folder of the run's own, where none is given; a folder given as empty is given."""
    if "SEED" not in command.settings():
        command.defaults.append(("SEED", Given(1, "flag --seed")))
    data = _name_of_data(command)
    if "OUTPUT_DIR" in command.settings() or not data:
        return
    shots, classes, seed = map(command.value, ("DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "SEED"))
    images = "/shots_all" if not shots or shots.startswith("-") else f"/shots_{shots}"
    images = "_active" if command.in_rounds else images  # rounds choose from all images
    half = f"_{classes}" if classes in ("base", "new") else ""
    config = "" if command.method_file is None else command.method_file.stem
    above = Path("output", f"{data}{images}{half}", command.trainer, config)
    if command.tested is None:
        place = run_folder.place_of_training(above, seed)
    else:
        place = run_folder.place_of_eval(above, seed, command.tested)
    command.defaults.append(("OUTPUT_DIR", Given(place, "flag --output-dir")))


def _name_of_data(command: Command) -> str:
    """What the folder of a run's data is called: the root of own images, else the data set's config; "" for no data."""
    dataset = command.value("DATASET.NAME")
    if not dataset:
        return ""
    if dataset in _OWN_IMAGES:
        return of_user(places.data_root(command.value("DATASET.ROOT"))).absolute().name
    if "DATASET.NAME" in command.words or command.data_file is None:
        return next((config for config, name in registered_names().items() if name == dataset), dataset)
    return command.data_file.stem


def _require_output_outside(command: Command) -> None:
    """Raise UserError if a run's output would be in a folder whose folders are classes."""
    output = command.value("OUTPUT_DIR")
    if command.value("DATASET.NAME") != "ImageFolder" or not output:
        return
    root, place = (of_user(path).resolve() for path in (places.data_root(command.value("DATASET.ROOT")), output))
    if root == place or root in place.parents:
        raise UserError(f"--output-dir: {place} would be a class among the images in {root}: give one outside of it")
