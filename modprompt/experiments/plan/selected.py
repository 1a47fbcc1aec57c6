"""Hyperparameters that `modprompt experiment choose` selected on validation images.

FILE.selected.yaml contains the selected values of each method, and for what they were selected: the trainer, the
config, the other settings, the CLIP model and the first stage. FILE.trials.csv contains one row for each trial.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.checks import known_names
from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import NO_COLLAPSE, RULES
from modprompt.io.files import Refused, read_bytes
from modprompt.io.records import read_yaml
from modprompt.io.settings import as_text, given, read_settings, settings_hash
from modprompt.methods import named_files

if TYPE_CHECKING:
    import pandas as pd

MOST_BELOW = 5  # percentage points that NO_COLLAPSE allows a trial to be below zero-shot CLIP
COLUMNS = ["method", "dataset", "seed", "correct", "images"]  # of FILE.trials.csv; the keys of the grid follow
_IDENTITY = {  # the entries of a method that state for what its values were selected, and their names in messages
    "trainer": "trainer", "config": "config file", "settings": "settings", "clip": "CLIP file",
    "first_stage": "first stage", "weights": "CLIP weights",
}  # fmt: skip


def identity(trainer: str, config: Path, options: Mapping[str, str], keys: Collection[str] = ()) -> dict[str, str]:
    """Return for what values are selected: the trainer, the config's name, a hash of all settings, and the CLIP file.

    The selected keys are not part of the hash. Raises UserError if the config is not YAML.
    """
    layers = [read_settings(str(config)), options]
    clips = [str(layer["MODEL.BACKBONE.PATH"]) for layer in layers if layer.get("MODEL.BACKBONE.PATH")]
    settings = {key: text for key, text in given(layers).items() if key not in keys}
    clip = Path(clips[-1]).name if clips else ""
    return {"trainer": trainer, "config": config.stem, "settings": settings_hash(settings), "clip": clip}


def rank(trials: pd.DataFrame, rule: str, of_config: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return a row for each method and each value of the grid, the selected value of each method first.

    The column `accuracy_pct` is averaged over seeds and then over data sets, and `excluded` marks values that the rule
    NO_COLLAPSE leaves out. Of equal values, the one in the config comes first, and then the smallest one. If all values
    of a method are excluded, the smallest comes first.

    Args:
        trials: the columns COLUMNS and the keys of the grid, which are empty for zero-shot CLIP.
        rule: one of experiment.RULES.
        of_config: by method, the values in the config in the order of the keys, if they are preferred.
    """
    keys = [name for name in trials if name not in COLUMNS]
    trials = trials.assign(accuracy_pct=100 * trials.correct / trials.images)
    is_zero_shot = trials[keys[0]] == ""
    zero_shot = trials[is_zero_shot].drop_duplicates("dataset").set_index("dataset").accuracy_pct
    trials = trials[~is_zero_shot].assign(gain=lambda rows: rows.accuracy_pct - rows.dataset.map(zero_shot))
    for columns in (["method", *keys, "dataset"], ["method", *keys]):  # over seeds, then over data sets
        trials = trials.groupby(columns, sort=False).agg({"accuracy_pct": "mean", "gain": "min"})
    grid = trials.round(9).reset_index()  # so that rounding errors do not decide between equal values
    grid["excluded"] = (grid.gain < -MOST_BELOW) & (rule == NO_COLLAPSE)
    order = []
    for row in grid.to_dict("records"):
        size = tuple(float(row[key]) for key in keys)
        is_of_config = size == tuple(map(float, of_config.get(row["method"], ())))
        accuracy, is_preferred = (0, False) if row["excluded"] else (row["accuracy_pct"], is_of_config)
        order.append((row["excluded"], -accuracy, not is_preferred, size))
    return grid.iloc[sorted(range(len(grid)), key=order.__getitem__)]


class Selected(NamedTuple):
    """The content of FILE.selected.yaml, and what its trials show.

    description: the selection rule as a part of a sentence.
    methods: by method: the selected values, and for what they were selected.
    images: the number of validation images by data set.
    by_hand: the methods whose values are not the ones that the rule selects from the trials.
    """

    path: Path
    experiment: str
    description: str
    methods: dict[str, dict[str, Any]]
    images: dict[str, int]
    by_hand: tuple[str, ...]

    def values_of(self, label: str, trainer: str, config: Path, options: Mapping[str, str]) -> dict[str, str]:
        """Return the selected values of a method of an experiment.

        Raises:
            UserError: if there are no values for this method and these settings, or if the options set a selected key.
        """
        if label not in self.methods:
            names = known_names(label, list(self.methods))
            raise self._outdated(f"no hyperparameters were selected for {label!r}{names}")
        method = self.methods[label]
        for key in method["values"]:
            if key in options:
                raise UserError(
                    f"{self.path}: {label}: {key} was selected by `modprompt experiment choose`, but the options also "
                    f"set {key} to {options[key]}. Remove {key} from the options."
                )
        self._require_equal(label, identity(trainer, config, options, method["values"]))
        if difference := _clip_difference(method, config, options):
            text = f"{label}: the hyperparameters were selected with a different CLIP model ({difference})."
            raise self._outdated(text)
        return dict(method["values"])

    def require_first_stage(self, label: str, first_stage: str) -> None:
        """Raise UserError if the values of a method were selected with a different first stage."""
        self._require_equal(label, {"first_stage": first_stage})

    def _require_equal(self, label: str, current: Mapping[str, str]) -> None:
        for key, value in current.items():
            recorded = self.methods[label][key]
            if recorded != value:
                raise self._outdated(
                    f"{label}: the hyperparameters were selected with the {_IDENTITY[key]} {recorded or 'none'}, but "
                    f"this experiment uses {value or 'none'}."
                )

    def _outdated(self, message: str) -> UserError:
        next_to_it = self.path.with_name(f"{self.experiment}.yaml")
        file = next_to_it if next_to_it.is_file() else self.experiment
        commands = f"`modprompt experiment run {file}` and `modprompt experiment choose {file}`"
        return UserError(f"{self.path}: {message} Run {commands} to select new hyperparameters.")

    def find_values(self, trainer: str, config: Path, options: Mapping[str, str]) -> tuple[str, dict[str, str], str]:
        """Return the method whose values fit a single run, these values, and a note on what differs (or "").

        Raises:
            UserError: if the file has no values for this trainer with this config, or for several such methods.
        """
        methods = {
            label: method
            for label, method in self.methods.items()
            if (method["trainer"], method["config"]) == (trainer, config.stem)
        }
        if not methods:
            pairs = (f"{method['trainer']} with the config file {method['config']}" for method in self.methods.values())
            raise UserError(
                f"{self.path} has no values for the trainer {trainer} with the config file {config.stem}. Use a "
                f"trainer and a config file for which values were selected: {', '.join(dict.fromkeys(pairs))}."
            )
        equal = [
            label
            for label, method in methods.items()
            if identity(trainer, config, options, method["values"]).items() <= method.items()
        ]
        labels = equal or [label for label in methods if label == trainer] or list(methods)
        if len(labels) > 1:
            raise UserError(
                f"{self.path} contains values for several methods of the trainer {trainer} ({', '.join(labels)}), but "
                "the settings of this run match none of them. Add the settings of one of these methods as KEY VALUE."
            )
        label, method = labels[0], methods[labels[0]]
        differences = ["another CLIP model"] if _clip_difference(method, config, options) else []
        differences += [] if equal else ["other settings"]
        differences += [f"the first stage {method['first_stage']}"] if method["first_stage"] else []
        selected = f"the values for {label} were selected with {' and '.join(differences)}"
        return label, dict(method["values"]), f"{selected}, so the values may not suit this run." * bool(differences)

    def describe(self, methods: Sequence[str]) -> str:
        """Return the note of a report: which values were selected on which images, and which were set by hand."""
        keys = ", ".join(dict.fromkeys(key for method in self.methods.values() for key in method["values"]))
        images = ", ".join(f"{count} images of {dataset}" for dataset, count in self.images.items())
        by_rule = ", ".join(label for label in methods if label not in self.by_hand)
        by_hand = ", ".join(label for label in methods if label in self.by_hand)
        selected = (
            f"The hyperparameters {keys} of {by_rule} were selected on validation images ({self.path.name}), with the "
            f"labels of {images}. Selection rule: {self.description}."
        )
        set_by_hand = (
            f"The hyperparameters {keys} of {by_hand} were set by hand in {self.path.name}: the rule does not select "
            f"these values from {trials_path(self.path).name}."
        )
        return " ".join([selected] * bool(by_rule) + [set_by_hand] * bool(by_hand))


def _clip_difference(method: Mapping[str, Any], config: Path, options: Mapping[str, str]) -> str:
    """Return how the CLIP file of a method differs from that of the selection, or ""."""
    clip = named_files.backbone_of({**read_settings(str(config)), **options})
    if not clip.path or not method["weights"]:
        return ""
    from modprompt.clip.load import identity  # late, because PyTorch takes seconds to import

    return named_files.look_at_clips("CLIP", [clip], None, identity)(method["weights"])


def trials_path(path: Path) -> Path:
    """Return the path of FILE.trials.csv for FILE.selected.yaml."""
    return path.with_name(f"{path.stem.removesuffix('.selected')}.trials.csv")


def read(path: Path) -> Selected:
    """Return the selected hyperparameters in FILE.selected.yaml.

    Values that the rule does not select from the trials, for example because the trials are missing or their SHA-256
    differs from the one in the file, are accepted as set by hand. Raises UserError if the file has another form.
    """
    import pandas as pd

    advice = "Run `modprompt experiment choose` to write the file again."
    try:
        content = read_yaml(path)
        methods = content["methods"]
        if content["rule"] not in RULES:
            raise Refused(f"the rule {content['rule']!r} is unknown")
        for method in methods.values():
            method.update({key: str(method[key]) for key in _IDENTITY})
            method["values"] = {key: as_text(value) for key, value in method["values"].items()}
        table = trials_path(path)
        data = read_bytes(table) if table.is_file() else b""
        if hashlib.sha256(data).hexdigest() != content["trials_sha256"]:
            return Selected(path, content["experiment"], content["description"], methods, {}, tuple(methods))
        trials = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
        trials = trials.astype({"seed": int, "correct": int, "images": int})
        of_config = {label: method["of_config"] for label, method in methods.items() if "of_config" in method}
        best = rank(trials, content["rule"], of_config).drop_duplicates("method").set_index("method")
        by_hand = tuple(
            label
            for label, method in methods.items()
            if label not in best.index or method["values"] != dict(best.loc[label, list(method["values"])])
        )
        images = dict(zip(trials.dataset, trials.images))
        return Selected(path, content["experiment"], content["description"], methods, images, by_hand)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}). {advice}") from None
    except (Refused, LookupError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} contains no selected hyperparameters ({error}). {advice}") from None
