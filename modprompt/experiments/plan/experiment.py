"""What an experiment file asks for: experiments, their methods, and runs (jobs) of these."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.checks import known_names
from modprompt.errors import UserError
from modprompt.experiments.plan.stages import stage_of, trains
from modprompt.io.images import SHOTS_BY_CLASS
from modprompt.io.settings import decisive
from modprompt.methods.search.file import named_by

if TYPE_CHECKING:
    from modprompt.experiments.plan.rounds import Rounds

VALIDATION = "validation"
BASE2NEW = "base2new"
# of protocol validation, the defaults first: whose labels are seen, how `experiment choose` chooses, and which of equal
# values it takes
CLASSES = ("base", "all")
RULES = (HIGHEST, NO_COLLAPSE) = ("highest", "no_collapse")
TIES = (OF_CONFIG, SMALLEST) = ("config", "smallest")
CROSS = ("cross_dataset", "domain_generalisation")
OF_TREES = (BASE2NEW, *CROSS, "few_shot")  # also read from log files
ACTIVE, ACQUISITIONS = "active", "acquisitions"  # the protocol of rounds, and what it is narrowed to besides
PROTOCOLS = (*OF_TREES, ACTIVE, VALIDATION)


Pairs = tuple[tuple[str, str], ...]  # of keys and texts


class Method(NamedTuple):
    """A trainer with a config and options."""

    label: str  # what tables call it
    family: str  # its name in the file; variants of a grid share it
    trainer: str
    config: Path
    options: Pairs  # over the config
    seeds: tuple[int, ...]
    point: Pairs  # its place in the grid; empty without one
    published: str  # its row in published.yaml
    imports: tuple[str, ...] = ()  # the user's modules that register its trainer or the readers, imported first
    import_words: tuple[str, ...] = ()  # the same as --import takes them: FOLDER/NAME, or the name of an installed one
    image_cache: bool = True  # whether its runs keep decoded test images in the output folder, for all runs there
    stage: Method | None = None  # the first stage of a two-stage method, with whose result it is trained
    stage_of: str = ""  # the name of that stage
    stage_seed: int | None = None  # the one seed of that stage; None if every seed has its own
    few_shot: Method | None = None  # the method of its few-shot runs to compare with, if not itself
    under: str = ""  # the acquisition that it runs under

    @property
    def trains(self) -> bool:
        """Whether there is something to train."""
        return trains(self.trainer)

    @property
    def shots_file(self) -> str:
        """The file of its unequal shots; empty if all classes have as many as the protocol says."""
        return dict(self.options).get(SHOTS_BY_CLASS, "")

    @property
    def folder(self) -> str:
        """The config's name, the options that decide numbers, and the first stage: what the family calls CFG."""
        kept = decisive(dict(self.options))
        deciding = [(key, value) for key, value in self.options if key in kept]
        names = short_names([key for key, _ in deciding])
        options = [_short(names[key] + _end_of_path(key, value)) for key, value in deciding]
        return "-".join(filter(None, [self.config.stem, *options, self.first]))

    @property
    def front(self) -> Method | None:
        """Its first stage, if that is another method of the file."""
        return self.stage if stage_of(self.stage_of).names_method else None

    @property
    def first(self) -> str:
        """Its first stage, by trainer and folder; empty for none."""
        if self.stage is None:
            return ""
        seed = "" if self.stage_seed is None else f"_seed{self.stage_seed}"
        return f"{'behind_' if self.front else ''}{self.stage.trainer}_{self.stage.folder}{seed}"


def _end_of_path(key: str, value: str) -> str:
    """For a file its name and two folders, which tell the run that wrote it; another value as it is."""
    found = named_by(key, value)
    path = value if key == SHOTS_BY_CLASS else found.path if found else ""
    return "/".join(Path(path).parts[-3:]) if path else value


def _short(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")[:60]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key (DEPT.ON for additions beside prompts), or all of it if two would share it."""
    beside = [key.startswith("TRAINER.") and key.endswith(".ON") for key in keys]
    last = [".".join(key.split(".")[-2 if is_beside else -1 :]) for key, is_beside in zip(keys, beside)]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last)}


class Job(NamedTuple):
    """One run of train.py."""

    method: Method
    dataset: str  # whose images are tested
    column: str  # of the table, which its accuracy fills
    seed: int
    folder: str = ""  # of its results, below the output folder
    parent: Job | None = None  # the training whose model is tested, if there is one
    tests: bool = False  # whether nothing is trained
    options: Pairs = ()  # of the protocol
    first: Job | None = None  # the first stage of a training, or of that whose model is tested
    of_first: Pairs | None = None  # options of the protocol for its first stage instead; None for the same
    stage: str = ""  # the name of the first stage that this is: its result is trained, and it fills no column
    is_front: bool = False  # only there as another method's first stage: its own method's job fills the column
    keeps: bool = False  # whether its test keeps the image features
    features: tuple[Job, ...] = ()  # tests whose kept features serve this one; it runs after the last of them

    @property
    def needs(self) -> Job | None:
        """The run that must be finished before: a test's training, a first stage, the last test that keeps features."""
        return self.features[-1] if self.features else self.parent or self.first

    @property
    def kind(self) -> str:
        """A first stage by its name, "training" or "test"."""
        return self.stage or ("test" if self.tests else "training")

    @property
    def title(self) -> str:
        """The run in a few words."""
        what = "train" if self.kind == "training" else self.kind
        return f"{self.method.label}, {self.dataset} {self.column}, seed {self.seed} ({what})"


PROJECTIONS = ("pca", "tsne")


class FeatureMap(NamedTuple):
    """The figure that shows the image features of a test in two dimensions."""

    method: str  # the label of the method
    dataset: str
    seed: int
    projection: str  # one of PROJECTIONS

    def shows(self, job: Job) -> bool:
        """Return True if the image features of this run appear in the figure."""
        is_shown = (job.method.label, job.dataset, job.seed) == (self.method, self.dataset, self.seed)
        return is_shown and not (job.stage or job.is_front or job.features)


class Experiment(NamedTuple):
    """A checked experiment file, or a part of one."""

    name: str
    title: str
    protocol: str
    datasets: tuple[str, ...]
    source: str  # of the cross protocols: what is trained on
    shots: tuple[int | str, ...]  # BY_CLASS if all methods have files of their own
    seeds: tuple[int, ...]  # of all methods together
    methods: tuple[Method, ...]
    highlight: str  # the method that figures show before others
    notes: str
    added: Rounds | None = None  # of protocol active
    together: bool = False  # of protocol base2new: all classes are tested too
    classes: str = CLASSES[0]  # of protocol validation: whose labels are seen
    rule: str = HIGHEST  # of protocol validation: by which `experiment choose` chooses
    ties: str = OF_CONFIG  # of protocol validation: which of equal values it takes
    hyperparameters: str = ""  # a note on the selection of its hyperparameters
    feature_map: FeatureMap | None = None  # of the protocols whose runs are also read from log files
    compare: str = ""  # the label of the method whose differences from all others are reported; empty for none

    @property
    def lines(self) -> list[Method]:
        """The methods that have runs and a line in a report; rounds make several of one."""
        return list(self.methods) if self.added is None else self.added.variants(self.methods)

    @property
    def grids(self) -> dict[str, tuple[str, ...]]:
        """The dotted keys of the grid of every method that has one."""
        return {method.family: tuple(key for key, _ in method.point) for method in self.methods if method.point}

    @property
    def names(self) -> dict[str, tuple[Any, ...]]:
        """What it can be narrowed to, by kind."""
        return {
            "parts": (self.name,),
            "datasets": self.datasets,
            "methods": tuple(dict.fromkeys(method.family for method in self.methods)),
            "seeds": self.seeds,
            ACQUISITIONS: self.added.acquisitions if self.added else (),
        }


def all_seeds(methods: Sequence[Method]) -> tuple[int, ...]:
    """The seeds of some methods together, in order."""
    return tuple(sorted({seed for method in methods for seed in method.seeds}))


class Plan(NamedTuple):
    """The experiments of a file: its parts, or the one that it is and that has its name."""

    name: str
    title: str
    notes: str
    slurm: dict[str, Any]
    parts: tuple[Experiment, ...]
    has_parts: bool = False


def narrowed(plan: Plan, **given: Sequence[Any]) -> Plan:
    """The plan with only some parts, data sets, methods, seeds or acquisitions; a part that has none is left out.

    Args:
        plan: the whole.
        given: names by kind; all if nothing is given.

    Raises:
        UserError: if no part has one of them, or nothing is left.
    """
    for what, words in given.items():
        known = list(dict.fromkeys(str(name) for part in plan.parts for name in part.names[what]))
        for word in words:
            if str(word) not in known:
                raise UserError(f"--{what}: {plan.name} does not contain {word!r}{known_names(str(word), known)}")
    kept = tuple(part for part in (_narrowed(part, given) for part in plan.parts) if part is not None)
    if not kept:
        if plan.has_parts:
            what = ", ".join(f"--{kind}" for kind, words in given.items() if words)
            raise UserError(
                f"No part of the experiment {plan.name} contains all values given with {what}. Give fewer values."
            )
        raise UserError(f"No method of {plan.name} has the requested seeds. Use different --seeds.")
    return plan._replace(parts=kept)


def _narrowed(part: Experiment, given: Mapping[str, Sequence[Any]]) -> Experiment | None:
    """What is left of a part; None for nothing."""

    asked = {what: given.get(what) or names for what, names in part.names.items()}
    kept = {what: tuple(name for name in names if name in asked[what]) for what, names in part.names.items()}
    own = [method for method in part.methods if method.family in kept["methods"]]
    methods = [one._replace(seeds=tuple(seed for seed in one.seeds if seed in kept["seeds"])) for one in own]
    methods = [method for method in methods if method.seeds]
    if not methods or any(words and not kept[what] for what, words in given.items()):
        return None
    return part._replace(
        added=part.added and part.added._replace(acquisitions=kept[ACQUISITIONS]),
        datasets=kept["datasets"],
        seeds=all_seeds(methods),
        methods=tuple(methods),
        highlight=part.highlight if part.highlight in {method.family for method in methods} else methods[-1].family,
    )
