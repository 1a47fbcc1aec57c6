"""Defaults for what a command does not name: data, the method's config, the CLIP, seed and output folder.

Nothing named: the embedded model on the digits. Only a root: its content decides (modprompt/data/own_images.py). No
config of the method: that of configs/trainers.yaml for the CLIP. No CLIP: the embedded one, if it knows all names. No
seed: 1. No output folder: output/DATA/shots_N/TRAINER/CONFIG/seed1, so that each run has its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from modprompt import places
from modprompt.checks import some
from modprompt.clip.known import plain
from modprompt.clip.lookup import named
from modprompt.clip.spec import EMBEDDED
from modprompt.data.names import config_file, path_of, registered_names
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io.files import of_user
from modprompt.io.settings import FLAGS, SHOTS_BY_CLASS, Given, Settings, as_text
from modprompt.methods.table import BY_NAME, config_of, configs_by_clip
from modprompt.methods.table import config_file as file_of_method

_LARGE = "ViT-B/16"
_CLIP_OPTIONS = f"--backbone {_LARGE} (OpenAI's weights, 350 MB, are downloaded at the first use)"
_BACKBONE = "MODEL.BACKBONE."
_OWN_IMAGES = ("ImageFolder", "Unlabelled")  # readers of a folder of anybody's: its name says more than theirs


def _weights(args: argparse.Namespace, path: str) -> Sequence[tuple[str, Given]]:
    """Return MODEL.BACKBONE.PATH for --backbone with a path; UserError if the options give another path."""
    key = f"{_BACKBONE}PATH"
    option = Settings.read(options=args.opts).get(key)
    if option is not None and of_user(option.value) != of_user(path):
        raise UserError(
            f"--backbone is the path {path}, but {key} is {option.value}. Remove one of these two settings."
        )
    return ((key, Given(path, "flag --backbone")),)


class _Command:
    """What a command gives by flags and options, config files below them, and the defaults chosen so far between."""

    def __init__(self, args: argparse.Namespace) -> None:
        flags = {key: getattr(args, flag[2:].replace("-", "_")) for key, flag in FLAGS.items()}
        path = named(args.backbone).path if args.backbone else ""
        weights = _weights(args, path) if path else ()
        flags = {**flags, f"{_BACKBONE}NAME": ""} if path else flags
        empty = ["OUTPUT_DIR", ""] if args.output_dir == "" else []  # a script's variable that is not set: no default
        self.words = Settings((*Settings.read((), flags, [*empty, *args.opts]).given, *weights))
        self.trainer = str(self.words["TRAINER.NAME"].value) if "TRAINER.NAME" in self.words else ""
        self.configs = configs_by_clip(self.trainer)
        self.data: Path | None = None
        self.method: Path | None = None
        self.defaults: dict[str, Given] = {}
        self.use(
            path_of(args.dataset_config_file) if args.dataset_config_file else None,
            file_of_method(args.config_file, self.trainer) if args.config_file else None,
        )

    def use(self, data: Path | None = None, method: Path | None = None) -> None:
        """Use the config file of a data set, of a method, or both."""
        self.data, self.method = data or self.data, method or self.method
        self.files = Settings.read(str(path) for path in (self.data, self.method) if path)

    def settings(self) -> Settings:
        """All that is given, in order of precedence."""
        return Settings((*self.files.given, *self.defaults.items(), *self.words.given))

    def value(self, key: str) -> str:
        """What is given for a key, as text; empty if nothing is."""
        given = self.settings().get(key)
        return "" if given is None or given.value is None else str(given.value)

    def root(self) -> Path:
        """The folder of the data sets, or of own images."""
        return of_user(places.data_root(self.value("DATASET.ROOT"))).absolute()

    def in_rounds(self) -> bool:
        """Whether the run has rounds, which choose from all training images."""
        rounds = self.value("ACTIVE.ROUNDS")
        return rounds != "0" if rounds else self.trainer in BY_NAME and BY_NAME[self.trainer].rounds


def completed(args: argparse.Namespace, takes_all: bool) -> Settings:
    """What a command gives (flags.parse_args), with defaults for what it does not name; a message says what was chosen.

    `takes_all` says whether the program is for runs that use all images of a root. Raises UserError as Settings.read,
    if there is no such file, or if a default cannot be decided: what to give is said.
    """
    command = _Command(args)
    named = [key for key in command.words if key in ("DATASET.NAME", "DATASET.ROOT") or key.startswith(_BACKBONE)]
    if EMBEDDED in command.configs and not (command.data or command.method or named):
        command.use(config_file("digits"), config_of(command.trainer, command.configs[EMBEDDED]))
        is_all = command.in_rounds() or command.value(SHOTS_BY_CLASS)
        command.defaults["DATASET.NUM_SHOTS"] = Given("-1" if is_all else "16", "option")
    else:
        if not command.value("DATASET.NAME"):
            _take_data(command, takes_all)
        if command.configs and command.method is None:
            _take_config(command)
    if args.hyperparameters:
        _take_hyperparameters(command, args.hyperparameters)
    if "SEED" not in command.settings():
        command.defaults["SEED"] = Given(1, "flag --seed")
    if "OUTPUT_DIR" not in command.settings() and command.value("DATASET.NAME"):  # one given as empty is given
        tested = run_folder.describe_model(args.model_dir, args.load_epoch) if args.eval_only else None
        command.defaults["OUTPUT_DIR"] = Given(_folder_of(command, tested), "flag --output-dir")
    root, place = command.root().resolve(), of_user(command.value("OUTPUT_DIR")).resolve()
    is_inside = bool(command.value("OUTPUT_DIR")) and (root == place or root in place.parents)
    if is_inside and command.value("DATASET.NAME") == "ImageFolder":
        raise UserError(
            f"--output-dir: the folder {place} is inside the image folder {root} and would be read as a class. Use "
            "an --output-dir outside the image folder."
        )
    return command.settings()


def _take_data(command: _Command, takes_all: bool) -> None:
    """Read a root without a named data set by its content, and say so."""
    root = command.value("DATASET.ROOT")
    if root and command.trainer:
        from modprompt.data.own_images import kind_of

        kind = kind_of(command.root(), takes_all or command.in_rounds())
        command.use(data=config_file(kind))
        print(
            f"No data set is specified, so --root {root} is read as the data set {kind}, which matches the "
            "content of the folder."
        )
    elif command.configs:
        raise UserError(
            "No data set is specified. Use --root FOLDER for a folder that contains one folder of images per class, or "
            "--dataset-config-file NAME for a benchmark data set (the data set digits is bundled)."
        )


def _take_config(command: _Command) -> None:
    """Use the trainer's config for the CLIP, and say so."""
    clip = command.value(f"{_BACKBONE}NAME") or command.value(f"{_BACKBONE}PATH") or _embedded(command)
    name = command.configs.get(plain(clip))
    path = config_of(command.trainer, name or command.configs[_LARGE])
    which = f"for {clip}" if name else f"for {_LARGE}, because {command.trainer} has no config file for {clip}"
    print(f"{command.trainer} uses the config file {path} ({which}).")
    command.use(method=path)


def _take_hyperparameters(command: _Command, name: str) -> None:
    """Use the values that `experiment choose` has selected for the trainer, over its config, and print them."""
    from modprompt.experiments.plan import file as experiment_file
    from modprompt.experiments.plan import selected
    from modprompt.experiments.plan.methods import OF_PROTOCOL

    if command.method is None:
        raise UserError(
            f"--hyperparameters {name} needs the config file of a method, but the run has none. Set --config-file."
        )
    path, short = of_user(name), name.removesuffix(".selected.yaml")
    if Path(short).stem == short and not path.is_file():
        path = experiment_file.FOLDER / f"{short}.selected.yaml"
    of_method = {
        key: as_text(given.value)
        for key, given in command.words.items()
        if key not in OF_PROTOCOL and not key.startswith("DATASET.")
    }
    found = selected.read(path)
    label, values, note = found.find_values(command.trainer, command.method, of_method)
    how = "set by hand" if label in found.by_hand else "selected on validation images"
    for key, value in values.items():
        if key in command.words:
            print(
                f"note: {key} is {command.words[key].value}, as set on the command line. The value {value} that {path} "
                f"contains for {label} is ignored."
            )
        else:
            print(f"{path}: {key} is set to {value}, which was {how} for {label}.")
            command.defaults[key] = Given(value, f"file {path}")
    if note:
        print(f"note: {path}: {note}")


def _embedded(command: _Command) -> str:
    """The embedded CLIP, if none is named; UserError if it does not know all class names, or has no config."""
    from modprompt.clip.tokens import unknown_words
    from modprompt.data.own_images import names_in

    dataset = command.value("DATASET.NAME")
    names = names_in(dataset, command.root())
    unknown = unknown_words(names or ())
    if names is not None and not names:
        raise UserError(
            f"No CLIP model is specified for {dataset}. Use {_CLIP_OPTIONS}. The bundled model {EMBEDDED} was trained "
            "only on images of letters and numerals."
        )
    if unknown:
        raise UserError(
            f"The default CLIP model, {EMBEDDED}, was not trained on the {'words' if len(unknown) > 1 else 'word'} "
            f"{some(list(map(repr, unknown)))} in the class names. Use {_CLIP_OPTIONS}."
        )
    if EMBEDDED not in command.configs:
        raise UserError(
            f"{command.trainer} has no config file for the default CLIP model, {EMBEDDED}. Specify another CLIP "
            f"model: {_CLIP_OPTIONS}."
        )
    return EMBEDDED


def _folder_of(command: _Command, tested: str | None) -> str:
    """The run's own folder; `tested` describes the model that a test tests, None for a training."""
    dataset = command.value("DATASET.NAME")
    if dataset in _OWN_IMAGES:
        data = command.root().name
    elif "DATASET.NAME" in command.words or command.data is None:
        data = next((config for config, name in registered_names().items() if name == dataset), dataset)
    else:
        data = command.data.stem
    shots, classes, seed = map(command.value, ("DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "SEED"))
    shots = "by_class" if command.value(SHOTS_BY_CLASS) else "all" if not shots or shots.startswith("-") else shots
    images = "_active" if command.in_rounds() else f"/shots_{shots}"  # rounds choose from all images
    half = f"_{classes}" if classes in ("base", "new") else ""
    above = Path("output", f"{data}{images}{half}", command.trainer, command.method.stem if command.method else "")
    if tested is None:
        return run_folder.place_of_training(above, seed)
    return run_folder.place_of_eval(above, seed, tested)
