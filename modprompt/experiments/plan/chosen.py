"""Settings that were chosen for methods on validation images, as a file that `modprompt experiment choose` writes.

A choice belongs to a method as it was then: its trainer, its config's content, its other options and its CLIP. For
another one it is refused.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.checks import known_names
from modprompt.clip import known
from modprompt.errors import UserError
from modprompt.io.files import Refused, read_bytes, write_json
from modprompt.io.records import check_seal, parse_json, sealed
from modprompt.io.settings import given, read_settings, settings_hash
from modprompt.methods import named_files

VERSION = 1
_CLIP = "MODEL.BACKBONE.PATH"
_IDENTITY = {  # for messages
    "trainer": "the trainer",
    "config": "the config file",
    "settings": "other settings, which have the hash",
    "clip": "the CLIP file",
}


def identity(trainer: str, config: Path, options: Mapping[str, str], axes: Collection[str] = ()) -> dict[str, str]:
    """What a choice belongs to: trainer, config's name, a hash of config and options, the name of a CLIP's file.

    The axes are the chosen keys, which are no part of it. Raises UserError if the config is not YAML.
    """
    layers = [read_settings(str(config)), options]
    file = next((str(layer[_CLIP]) for layer in reversed(layers) if layer.get(_CLIP)), "")
    return {
        "trainer": trainer,
        "config": config.stem,
        "settings": settings_hash({key: text for key, text in given(layers).items() if key not in axes}),
        "clip": Path(file).name,
    }


class Chosen(NamedTuple):
    """What was chosen: the file, the experiment that chose, its rule in words, and by label of a method what the choice
    belongs to, the chosen options, and every try."""

    path: Path
    experiment: str
    rule: str
    methods: dict[str, dict[str, Any]]

    def options_of(self, label: str, trainer: str, config: Path, options: Mapping[str, str]) -> dict[str, str]:
        """The options that were chosen for a method with this label, trainer, config, and options without these.

        Raises:
            UserError: if nothing was chosen for it, or for another method of that name, or it sets what was chosen.
        """
        choice = self.methods.get(label)
        if choice is None:
            raise self._refused(
                f"no hyperparameters were selected for {label!r}" + known_names(label, list(self.methods))
            )
        for key in choice["options"]:
            if key in options:
                raise UserError(
                    f"{self.path}: {label}: {key} was selected by `modprompt experiment choose`, but the options also "
                    f"set {key} to {options[key]}. Remove {key} from the options."
                )
        for key, value in identity(trainer, config, options, choice["options"]).items():
            if choice[key] != value:
                raise self._refused(
                    f"{label}: the hyperparameters were selected with {_IDENTITY[key]} {choice[key] or 'none'}, but "
                    f"this experiment uses {value or 'none'}."
                )
        clip = named_files.backbone_of({**read_settings(str(config)), **options})
        look = named_files.look_at_clips("CLIP", [clip], None, known.identity)
        if differs := look(choice["weights"]) if clip.path and choice.get("weights") else "":
            raise self._refused(f"{label}: the hyperparameters were selected with a different CLIP model ({differs}).")
        return dict(choice["options"])

    def find_values(self, trainer: str, config: Path, options: Mapping[str, str]) -> tuple[str, dict[str, str], str]:
        """Return the label of the method whose values fit a single run, these values, and a note.

        The note says what differs from the runs by which the values were selected; it is empty if nothing differs.
        The method is the one with this trainer, config and options (the run's other settings of the method); if there
        is none, the one named as the trainer is, or the only one of this trainer.

        Raises:
            UserError: if the file has no values for this trainer with this config, or for several such methods.
        """
        of_trainer = {label: choice for label, choice in self.methods.items() if choice["trainer"] == trainer}
        if not of_trainer:
            trainers = ", ".join(dict.fromkeys(choice["trainer"] for choice in self.methods.values()))
            raise UserError(
                f"{self.path} has no values for the trainer {trainer}. Use a trainer that the file contains: "
                f"{trainers}."
            )
        choices = {label: choice for label, choice in of_trainer.items() if choice["config"] == config.stem}
        if not choices:
            configs = ", ".join(dict.fromkeys(choice["config"] for choice in of_trainer.values()))
            raise UserError(
                f"{self.path}: the values for {trainer} were selected with the config file {configs}, but this run "
                f"uses {config.stem}. Set --config-file {next(iter(of_trainer.values()))['config']}, or select values "
                f"for {config.stem} with `modprompt experiment choose`."
            )
        differing = {
            label: [
                key
                for key, value in identity(trainer, config, options, choice["options"]).items()
                if choice[key] != value
            ]
            for label, choice in choices.items()
        }
        labels = [label for label in choices if not differing[label]]
        labels = labels or [label for label in choices if label == trainer] or list(choices)
        if len(labels) > 1:
            raise UserError(
                f"{self.path} contains hyperparameters for several methods that use the trainer {trainer} "
                f"({', '.join(labels)}), but the settings of this run match none of these methods. To choose a "
                "method, add its settings as KEY VALUE."
            )
        label, choice = labels[0], choices[labels[0]]
        clip = named_files.backbone_of({**read_settings(str(config)), **options})
        look = named_files.look_at_clips("CLIP", [clip], None, known.identity)
        other = ["another CLIP"] if clip.path and choice.get("weights") and look(choice["weights"]) else []
        other += ["other settings"] if "settings" in differing[label] else []
        other += [f"the first stage {choice['first']}"] if choice["first"] else []
        note = f"the values for {label} were selected with {' and '.join(other)}, so the values may not suit this run."
        return label, dict(choice["options"]), note if other else ""

    def require_first(self, label: str, first: str) -> None:
        """Raise UserError if the choice was made after another first stage than this one."""
        chosen_with = self.methods[label]["first"] or "none"
        if chosen_with != (first or "none"):
            raise self._refused(
                f"{label}: the hyperparameters were selected with the first stage {chosen_with}, but this experiment "
                f"uses {first or 'none'}."
            )

    def in_words(self, methods: Sequence[str]) -> str:
        """What was chosen for some methods, and by how many labels of each data set, for a note under a table."""
        keys = dict.fromkeys(key for choice in self.methods.values() for key in choice["options"])
        tries = [one["by_dataset"] for choice in self.methods.values() for one in choice["tries"]]
        labels = {dataset: seeds[0][1] for one in tries for dataset, seeds in one.items()}
        return (
            f"The hyperparameters {', '.join(keys)} of {', '.join(methods)} were selected on validation images "
            f"({self.path.name}), with the labels of "
            f"{', '.join(f'{count} images of {dataset}' for dataset, count in labels.items())}. Selection rule: "
            f"{self.rule}."
        )

    def _refused(self, what: str) -> UserError:
        beside = self.path.with_name(f"{self.experiment}.yaml")
        file = beside if beside.is_file() else self.experiment
        again = f"`modprompt experiment run {file}` and `modprompt experiment choose {file}`"
        return UserError(f"{self.path}: {what} Run {again} to select new hyperparameters.")


def read(path: Path) -> Chosen:
    """The choice in a file.

    Raises:
        UserError: if there is none, or it is damaged or was changed by hand.
    """
    what_to_do = "Run `modprompt experiment choose` again to rewrite the file."
    try:
        content = parse_json(read_bytes(path))
        if not check_seal(content, path, what_to_do):
            raise UserError(f"{path} has no seal. {what_to_do}")
        return Chosen(path, content["experiment"], content["rule"], content["methods"])
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}). {what_to_do}") from None
    except (Refused, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} contains no selected hyperparameters ({error}). {what_to_do}") from None


def _is_choice(path: Path) -> bool:
    """Return True if a file has the form of a choice, whether its seal fits or not."""
    try:
        content = parse_json(read_bytes(path)) if path.is_file() else None
    except (OSError, UserError, Refused):
        return False
    return isinstance(content, dict) and {"experiment", "rule", "methods"} <= content.keys()


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a choice, sealed; raise UserError if the file cannot be written, or would replace a file without a choice.

    A choice that was changed by hand is replaced.
    """
    if os.path.lexists(path) and not _is_choice(path):
        raise UserError(
            f"--to: the file {path} exists, but does not contain selected hyperparameters, so the file is not "
            "replaced. Use a different file name."
        )
    try:
        write_json(path, sealed(content, VERSION))
    except OSError as error:
        raise UserError(f"--to: cannot write {path} ({error.strerror or error}).") from None
