"""The content of a checked experiment file: experiments, their methods, and their runs (jobs)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.checks import known_names
from modprompt.data.rounds import PCB_ALONE
from modprompt.errors import UserError
from modprompt.experiments.plan.first_stages import FIRST_STAGES, trains
from modprompt.io.identity import decisive
from modprompt.io.settings import SHOTS_BY_CLASS
from modprompt.methods.search.file import named_by

VALIDATION = "validation"
BASE2NEW = "base2new"
FEW_SHOT = "few_shot"
ACTIVE = "active"
CROSS = ("cross_dataset", "domain_generalisation")
OF_TREES = (BASE2NEW, *CROSS, FEW_SHOT)  # the protocols whose runs are also read from log files
PROTOCOLS = (*OF_TREES, ACTIVE, VALIDATION)
# keys of protocol validation, the default first: the classes with labels, the selection rule, and the rule for ties
CLASSES = ("base", "all")
RULES = (HIGHEST, NO_COLLAPSE) = ("highest", "no_collapse")
TIES = (OF_CONFIG, SMALLEST) = ("config", "smallest")
PROJECTIONS = ("pca", "tsne")
FEW_SHOT_RUNS = "few-shot"  # in place of an acquisition function: few-shot runs with the same number of labels
PCB = "+pcb"  # the end of an acquisition function whose selected images are balanced with PCB
TRAINING, TEST = "training", "test"  # kinds of jobs; the kind of a search is first_stages.SEARCH
Pairs = tuple[tuple[str, str], ...]  # keys and texts


class Method(NamedTuple):
    """A trainer with a config file and options.

    label: the name in tables.
    family: the name in the experiment file, which all variants of a grid share.
    options: settings that override the config file.
    grid_point: the keys and values of the grid that belong to this variant; empty without a grid.
    published: the name of the published rows of this method.
    imports: modules that register the trainer or the readers, as `--import` accepts them: FOLDER/NAME or NAME.
    image_cache: whether decoded test images are stored in the output folder for all runs.
    first_stage: the method of the first stage, or None.
    first_stage_key: the key of the first stage in first_stages.FIRST_STAGES, or "".
    first_stage_seed: the seed of the first stage; None if its seed is that of the run.
    few_shot: the method of the few-shot runs in an active-learning experiment, if not this method.
    acquisition: the acquisition function in an active-learning experiment, FEW_SHOT_RUNS, or "".
    """

    label: str
    family: str
    trainer: str
    config: Path
    options: Pairs
    seeds: tuple[int, ...]
    grid_point: Pairs
    published: str
    imports: tuple[str, ...] = ()
    image_cache: bool = True
    first_stage: Method | None = None
    first_stage_key: str = ""
    first_stage_seed: int | None = None
    few_shot: Method | None = None
    acquisition: str = ""

    @property
    def trains(self) -> bool:
        """Return True if the trainer trains parameters."""
        return trains(self.trainer)

    @property
    def modules(self) -> list[str]:
        """Return the names of the modules in `imports`, without folders."""
        return [Path(word).name for word in self.imports]

    @property
    def shots_file(self) -> str:
        """Return the file with the number of shots of each class, or "" if the protocol sets one number for all."""
        return dict(self.options).get(SHOTS_BY_CLASS, "")

    @property
    def folder(self) -> str:
        """Return a folder name: the config, all options that affect results, and the first stage."""
        affecting = decisive(dict(self.options))
        pairs = [(key, value) for key, value in self.options if key in affecting]
        names = short_names([key for key, _ in pairs])
        options = [_file_name(names[key] + _short_value(key, value)) for key, value in pairs]
        return "-".join(filter(None, [self.config.stem, *options, self.first_stage_folder]))

    @property
    def earlier_method(self) -> Method | None:
        """Return the first stage if it is another method of the experiment file, or None."""
        return self.first_stage if self.first_stage_key and FIRST_STAGES[self.first_stage_key].is_method else None

    @property
    def first_stage_folder(self) -> str:
        """Return the trainer and the folder name of the first stage, or "" without a first stage."""
        if self.first_stage is None:
            return ""
        seed = "" if self.first_stage_seed is None else f"_seed{self.first_stage_seed}"
        start = "behind_" if self.earlier_method else ""
        return f"{start}{self.first_stage.trainer}_{self.first_stage.folder}{seed}"


def _short_value(key: str, value: str) -> str:
    """Return the value of a setting; of a path only the file and two folders, which name the run that wrote it."""
    named_file = named_by(key, value)
    path = value if key == SHOTS_BY_CLASS else named_file.path if named_file else ""
    return "/".join(Path(path).parts[-3:]) if path else value


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")[:60]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each dotted key (for TRAINER.DEPT.ON: DEPT.ON), or the key if the part is not unique."""
    are_switches = [key.startswith("TRAINER.") and key.endswith(".ON") for key in keys]
    ends = [".".join(key.split(".")[-2 if is_switch else -1 :]) for key, is_switch in zip(keys, are_switches)]
    return {key: end if ends.count(end) == 1 else key for key, end in zip(keys, ends)}


class Job(NamedTuple):
    """A run of `modprompt train`.

    dataset: the data set of the test images.
    column: the column of a table that the accuracy fills.
    folder: the folder of the result in the output folder.
    kind: TRAINING (which also tests), TEST, or first_stages.SEARCH.
    training: of a test: the run that trains the tested model; None without training.
    options: settings of the protocol.
    first_stage: the first stage of the run, or of the training whose model is tested.
    first_stage_options: settings of the protocol for the first stage; None if they are `options`.
    fills_column: False for a run that is needed only as a first stage.
    keeps_features: whether the test stores the image features.
    feature_tests: tests whose stored image features this test uses; the last one runs last.
    """

    method: Method
    dataset: str
    column: str
    seed: int
    folder: str = ""
    kind: str = TRAINING
    training: Job | None = None
    options: Pairs = ()
    first_stage: Job | None = None
    first_stage_options: Pairs | None = None
    fills_column: bool = True
    keeps_features: bool = False
    feature_tests: tuple[Job, ...] = ()

    @property
    def is_test(self) -> bool:
        """Return True if the run trains nothing."""
        return self.kind == TEST

    @property
    def needs(self) -> Job | None:
        """Return the run that must finish before this run starts, or None."""
        return self.feature_tests[-1] if self.feature_tests else self.training or self.first_stage

    @property
    def title(self) -> str:
        """Return the method, data set, column, seed and kind of the run."""
        kind = "train" if self.kind == TRAINING else self.kind
        return f"{self.method.label}, {self.dataset} {self.column}, seed {self.seed} ({kind})"


class Rounds(NamedTuple):
    """The active-learning rounds of an experiment.

    number: the number of rounds.
    budget: the number of labels per round; 0 for one label per class.
    gamma: the number of candidates of PCB, as a fraction of all training images.
    acquisitions: the acquisition functions as in the file, such as "entropy+pcb".
    few_shot: whether there are few-shot runs with the same number of labels.
    base2new: whether only images of base classes are labelled, and new classes are tested, too.
    """

    number: int
    budget: int
    gamma: float
    acquisitions: tuple[str, ...]
    few_shot: bool
    base2new: bool


def without_pcb(acquisition: str) -> str:
    """Return the value of ACTIVE.METHOD for an acquisition function of an experiment file."""
    return acquisition.removesuffix(PCB)


def has_pcb(acquisition: str) -> bool:
    """Return True if an acquisition function balances the selected images with PCB."""
    return acquisition == PCB_ALONE or acquisition.endswith(PCB)


class FeatureMap(NamedTuple):
    """A figure of the image features of one test.

    method: the label of the method.
    projection: the projection onto two dimensions, one of PROJECTIONS.
    """

    method: str
    dataset: str
    seed: int
    projection: str

    def shows(self, job: Job) -> bool:
        """Return True if the image features of a run appear in the figure."""
        is_shown = (job.method.label, job.dataset, job.seed) == (self.method, self.dataset, self.seed)
        return is_shown and job.fills_column and not job.feature_tests


class Experiment(NamedTuple):
    """A checked experiment file, or a part of one.

    source: the training data set of the cross-data-set protocols; "" for other protocols.
    shots: the numbers of shots; BY_CLASS if all methods have a file with the number of shots of each class.
    seeds: the seeds of all methods.
    highlight: the family of the method that figures and tables highlight.
    rounds: the rounds of protocol active.
    joint_test: of protocol base2new: whether base and new classes are also tested together.
    classes, rule, ties: of protocol validation, see CLASSES, RULES and TIES.
    hyperparameters: a note on the selection of the hyperparameters.
    feature_map: the figure of image features.
    compare: the label of the method that is compared with all others, or "".
    """

    name: str
    title: str
    protocol: str
    datasets: tuple[str, ...]
    source: str
    shots: tuple[int | str, ...]
    seeds: tuple[int, ...]
    methods: tuple[Method, ...]
    highlight: str
    notes: str
    rounds: Rounds | None = None
    joint_test: bool = False
    classes: str = CLASSES[0]
    rule: str = HIGHEST
    ties: str = OF_CONFIG
    hyperparameters: str = ""
    feature_map: FeatureMap | None = None
    compare: str = ""

    @property
    def grids(self) -> dict[str, tuple[str, ...]]:
        """Return the dotted keys of the grid of each method that has a grid."""
        return {
            method.family: tuple(key for key, _ in method.grid_point) for method in self.methods if method.grid_point
        }

    @property
    def selectable(self) -> dict[str, tuple[Any, ...]]:
        """Return the parts, data sets and so on that `select` accepts, by flag."""
        return {
            "parts": (self.name,),
            "datasets": self.datasets,
            "methods": tuple(dict.fromkeys(method.family for method in self.methods)),
            "seeds": self.seeds,
            "acquisitions": self.rounds.acquisitions if self.rounds else (),
        }


def all_seeds(methods: Sequence[Method]) -> tuple[int, ...]:
    """Return the sorted seeds of all methods."""
    return tuple(sorted({seed for method in methods for seed in method.seeds}))


class Plan(NamedTuple):
    """An experiment file: its parts, or the only experiment, which has the name of the file."""

    name: str
    title: str
    notes: str
    slurm: dict[str, Any]
    parts: tuple[Experiment, ...]
    has_parts: bool = False


def select(plan: Plan, **flags: Sequence[Any]) -> Plan:
    """Return a plan with only some parts, data sets, methods, seeds or acquisition functions.

    Args:
        plan: the plan.
        flags: the selected values by flag, see Experiment.selectable; all values if none are given.

    Raises:
        UserError: if no part of the plan has one of the values, or if nothing is left.
    """
    for flag, values in flags.items():
        known = list(dict.fromkeys(str(name) for part in plan.parts for name in part.selectable[flag]))
        for value in values:
            if str(value) not in known:
                raise UserError(f"--{flag}: {plan.name} does not contain {value!r}{known_names(str(value), known)}")
    parts = tuple(part for part in (_select_part(part, flags) for part in plan.parts) if part is not None)
    if not parts:
        if plan.has_parts:
            names = ", ".join(f"--{flag}" for flag, values in flags.items() if values)
            raise UserError(
                f"No part of the experiment {plan.name} contains all values given with {names}. Give fewer values."
            )
        raise UserError(f"No method of {plan.name} has the requested seeds. Use different --seeds.")
    return plan._replace(parts=parts)


def _select_part(part: Experiment, flags: Mapping[str, Sequence[Any]]) -> Experiment | None:
    """Return a part with only the selected values, or None if a flag selects none of its values."""
    kept = {
        flag: tuple(name for name in names if name in (flags.get(flag) or names))
        for flag, names in part.selectable.items()
    }
    methods = [
        method._replace(seeds=tuple(seed for seed in method.seeds if seed in kept["seeds"]))
        for method in part.methods
        if method.family in kept["methods"]
    ]
    methods = [method for method in methods if method.seeds]
    if not methods or any(values and not kept[flag] for flag, values in flags.items()):
        return None
    return part._replace(
        rounds=part.rounds and part.rounds._replace(acquisitions=kept["acquisitions"]),
        datasets=kept["datasets"],
        seeds=all_seeds(methods),
        methods=tuple(methods),
        highlight=part.highlight if part.highlight in {method.family for method in methods} else methods[-1].family,
    )
