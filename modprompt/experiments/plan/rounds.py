"""Protocol active: runs with active-learning rounds, and few-shot runs with the same number of labels.

rounds: 8                             # number of rounds of selecting, labelling and training
budget: 0                             # labels per round; 0 means one label per class
gamma: 0.1                            # candidates for PCB, as a fraction of all training images
acquisitions: [random, entropy, entropy+pcb, none+pcb]   # "+pcb" balances the selected images with PCB
few_shot: true                        # adds few-shot runs with as many shots as labels per class; needs budget 0
base2new: false                       # true: selects images of the base classes and tests the new classes, too

The few-shot runs use the method itself, unless it has `few_shot: {trainer: CoOp, config: NAME, options: {...}}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from modprompt.checks import check_name, known_names
from modprompt.data.rounds import METHODS, NONE, PCB_ALONE, Active
from modprompt.errors import SettingError, UserError
from modprompt.experiments.plan.experiment import Experiment, Job, Method
from modprompt.experiments.plan.protocols import ANY_SHOTS, base2new, few_shot, is_bound
from modprompt.experiments.plan.reading import Part
from modprompt.experiments.plan.stages import stage_of
from modprompt.io.images import SHOTS_BY_CLASS

KEYS = ("rounds", "budget", "gamma", "acquisitions", "few_shot", "base2new")
SET_HERE = (
    "ACTIVE.METHOD", "ACTIVE.PCB", "ACTIVE.ROUNDS", "ACTIVE.BUDGET", "ACTIVE.GAMMA",
    "TRAINER.COOPAL.METHOD", "TRAINER.COOPAL.GAMMA",  # the same as two of them
)  # fmt: skip
FEW_SHOT = "few-shot"  # in place of an acquisition
_PCB = "+pcb"


class Rounds(NamedTuple):
    """What protocol active adds to an experiment.

    number: of rounds.
    budget: labels a round; 0 for one for each class.
    gamma: candidates of PCB, as a share of all training images.
    acquisitions: as the file has them, "+pcb" after those that PCB balances.
    few_shot: whether there are few-shot runs of the same budget.
    base2new: whether the base classes alone are labelled, and the new ones tested.
    """

    number: int
    budget: int
    gamma: float
    acquisitions: tuple[str, ...]
    few_shot: bool
    base2new: bool

    @property
    def shots(self) -> tuple[int, ...]:
        """Of the few-shot runs: as many as labels of a class."""
        return tuple(range(1, self.number + 1))

    def jobs(self, experiment: Experiment) -> Iterator[Job]:
        """The runs in rounds, and few-shot and zero-shot runs to compare with."""
        for dataset in experiment.datasets:
            for method in experiment.lines:
                if method.under in ("", FEW_SHOT):
                    yield from self._compared(experiment._replace(datasets=(dataset,), methods=(method,)))
                    continue
                folder, options = self._folder(dataset, method), self._options(method.under)
                for seed in method.seeds:
                    yield Job(method, dataset, "accuracy", seed, options=options)._replace(
                        folder=f"{folder}/seed{seed}"
                    )

    def _compared(self, alone: Experiment) -> Iterator[Job]:
        """Few-shot or zero-shot runs of one method on one data set, which other protocols have too."""
        if not self.base2new:
            yield from few_shot(alone)
            return
        trains = alone.methods[0].trains
        for shots in alone.shots if trains else (ANY_SHOTS,):
            column = str(shots if trains else 0)
            for job in base2new(alone._replace(shots=(shots,))):
                yield job._replace(column=column if job.column == "base" else new_of(column))

    def columns_of(self, method: Method, experiment: Experiment) -> tuple[str, ...]:
        """Only one for rounds: all their accuracies, on new classes too, are in the one result of their run."""
        if method.under not in ("", FEW_SHOT):
            return ("accuracy",)
        shots = list(map(str, experiment.shots)) if method.trains else ["0"]
        tests_new = self.base2new and not is_bound(method, experiment)
        return (*shots, *(map(new_of, shots) if tests_new else ()))

    def variants(self, methods: Sequence[Method]) -> list[Method]:
        """Every method under every acquisition, and its few-shot runs; one that trains nothing stays as it is."""
        variants = []
        for method in methods:
            plain = _without_rounds(method)
            if method.trains:
                variants += [_under(method, name) for name in self.acquisitions]
                variants += [_under(plain, FEW_SHOT)] if self.few_shot else []
            else:
                variants.append(plain)
        return variants

    def _folder(self, dataset: str, method: Method) -> str:
        """The folder of a method's runs under an acquisition, without the seed; it has all that decides numbers."""
        budget = f"_{self.budget}labels" if self.budget else ""
        gamma = f"_gamma{self.gamma:g}" if _has_pcb(method.under) else ""
        place = f"active/{'base2new/' if self.base2new else ''}{dataset}/{method.trainer}"
        return f"{place}/{method.folder}_{self.number}rounds{budget}{gamma}/{method.under}"

    def _options(self, acquisition: str) -> tuple[tuple[str, str], ...]:
        """The settings of a run, (key, text) pairs; GAMMA only where it matters."""
        options = {"DATASET.NUM_SHOTS": "-1"}
        if self.base2new:
            options["DATASET.SUBSAMPLE_CLASSES"] = "base"
        options |= {"ACTIVE.METHOD": method_of(acquisition), "ACTIVE.PCB": str(acquisition.endswith(_PCB))}
        options |= {"ACTIVE.ROUNDS": str(self.number), "ACTIVE.BUDGET": str(self.budget)}
        if _has_pcb(acquisition):
            options["ACTIVE.GAMMA"] = repr(self.gamma)
        return tuple(options.items())


def new_of(column: str) -> str:
    """The column for the new classes' accuracy that belongs to one of shots."""
    return f"{column} new"


def method_of(acquisition: str) -> str:
    """What ACTIVE.METHOD calls an acquisition."""
    return acquisition.removesuffix(_PCB)


def _has_pcb(acquisition: str) -> bool:
    return acquisition == PCB_ALONE or acquisition.endswith(_PCB)


def _under(method: Method, acquisition: str) -> Method:
    return method._replace(label=f"{method.label} {acquisition}", under=acquisition, published="")


def _without_rounds(method: Method) -> Method:
    other = method.few_shot or method
    options = tuple((key, text) for key, text in other.options if not key.startswith(f"{Active.node}."))
    same = {name: getattr(method, name) for name in ("label", "seeds", "point", "image_cache")}
    return other._replace(**same, options=options, few_shot=None)


def read(part: Part, methods: Sequence[Method]) -> Rounds:
    """The rounds that a part of a file asks for.

    Args:
        part: the part.
        methods: of it; the acquisitions of a user's own modules are not known yet.

    Raises:
        UserError: on a wrong value; the message names its place.
    """
    for key in ("shots", "source"):
        if key in part:
            raise part.fault(key, "protocol active does not support this key. Use `rounds` and `budget` instead.")
    for method in methods:
        if method.shots_file:
            text = f"protocol active does not support {SHOTS_BY_CLASS}, because rounds select the images. Remove it."
            raise part.fault(f"methods: {method.family}", text)
        if method.stage is not None:
            without = stage_of(method.stage_of).without
            raise part.fault(f"methods: {method.family}", f"protocol active does not support {without}")
    number, budget = part.number("rounds", 8, 1), part.number("budget", 0, 0)
    try:
        gamma = Active(gamma=part.get("gamma", Active.gamma)).gamma
    except SettingError as error:
        raise part.fault("gamma", error.faults[0][1].strip()) from None
    with_few_shot = part.flag("few_shot", budget == 0)
    if with_few_shot and budget:
        text = f"few-shot runs need budget 0 (one label per class), but budget is {budget}. Set few_shot: false."
        raise part.fault("few_shot", text)
    given = part.names("acquisitions")
    for name in given:
        fault = _fault_of_name(name, any(method.imports for method in methods))
        if fault:
            raise part.fault("acquisitions", fault)
    return Rounds(number, budget, gamma, given, with_few_shot, part.flag("base2new", False))


def _fault_of_name(given: str, own: bool) -> str:
    """What is wrong with an acquisition's name in a file; `own`: it may come from a user's module."""
    name, pcb = method_of(given), given.endswith(_PCB)
    if name not in METHODS and not own:
        return f"unknown acquisition function {name!r}{known_names(name, METHODS)}"
    if name == FEW_SHOT or not re.fullmatch(r"\w[\w-]*", name):  # it is the name of a folder
        return (
            f"{given!r} is not a valid name of an acquisition function. Use only letters, digits, _ and - (and not the "
            f"name {FEW_SHOT})."
        )
    if name == NONE and not pcb:
        return f"{NONE} selects no images without PCB. Use {NONE}{_PCB}, which is PCB on all images."
    if name == PCB_ALONE and pcb:
        return f"{PCB_ALONE} already includes PCB ({PCB_ALONE} is badge{_PCB}). Use {PCB_ALONE}."
    return ""


def check(cfg: Any, job: Job) -> None:
    """Refuse a run that would choose its labels in rounds where none are asked for."""
    if not cfg.ACTIVE.ROUNDS:
        return
    if job.method.under == FEW_SHOT:
        raise UserError(
            f"{cfg.TRAINER.NAME} always selects its images in rounds, so the few-shot runs with which it is compared "
            "need another trainer. Name the trainer of the few-shot runs with `few_shot: {trainer: ..., config: "
            "...}` in the method, or set `few_shot: false` for the experiment."
        )
    if not job.method.under and not job.tests:
        raise UserError(
            f"{cfg.TRAINER.NAME} with ACTIVE.ROUNDS {cfg.ACTIVE.ROUNDS} selects images in rounds, which is only "
            "supported in experiments with the protocol `active`. Set `protocol: active`, or set ACTIVE.ROUNDS to 0."
        )


def require_known(job: Job) -> None:
    """Raise SettingError if a run's acquisition is not registered; all modules are imported by now."""
    from modprompt.active.acquisition import ACQUISITIONS

    name = method_of(job.method.under)
    if name not in ("", FEW_SHOT, *ACQUISITIONS):
        check_name(name, METHODS, "ACTIVE.METHOD")
