"""The keys of protocol active, which trains in active-learning rounds.

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
from collections.abc import Sequence
from typing import Any

from modprompt.checks import check_name, known_names
from modprompt.data.rounds import METHODS, NONE, PCB_ALONE, Active
from modprompt.errors import SettingError, UserError
from modprompt.experiments.plan.experiment import FEW_SHOT_RUNS, PCB, Job, Method, Rounds, without_pcb
from modprompt.experiments.plan.first_stages import FIRST_STAGES
from modprompt.experiments.plan.section import Section
from modprompt.io.settings import SHOTS_BY_CLASS

KEYS = ("rounds", "budget", "gamma", "acquisitions", "few_shot", "base2new")
SETTINGS = (  # the settings that these keys determine
    "ACTIVE.METHOD", "ACTIVE.PCB", "ACTIVE.ROUNDS", "ACTIVE.BUDGET", "ACTIVE.GAMMA",
    "TRAINER.COOPAL.METHOD", "TRAINER.COOPAL.GAMMA",  # other names of ACTIVE.METHOD and ACTIVE.GAMMA
)  # fmt: skip


def read(section: Section, methods: Sequence[Method]) -> Rounds:
    """Return the rounds of a part of an experiment file.

    Acquisition functions of custom modules are not known yet; `require_registered` checks their names later.

    Args:
        section: the part of the file.
        methods: the methods of the part.

    Raises:
        UserError: if a value is wrong.
    """
    for key in ("shots", "source"):
        if key in section:
            raise section.fault(key, "protocol active does not support this key. Use `rounds` and `budget` instead.")
    for method in methods:
        place = f"methods: {method.family}"
        if method.shots_file:
            text = f"protocol active does not support {SHOTS_BY_CLASS}, because rounds select the images. Remove it."
            raise section.fault(place, text)
        if method.first_stage is not None:
            unsupported = FIRST_STAGES[method.first_stage_key].unsupported
            raise section.fault(place, f"protocol active does not support {unsupported}")
    number, budget = section.number("rounds", 8, 1), section.number("budget", 0, 0)
    try:
        gamma = Active(gamma=section.get("gamma", Active.gamma)).gamma
    except SettingError as error:
        raise section.fault("gamma", error.faults[0][1].strip()) from None
    has_few_shot_runs = section.flag("few_shot", budget == 0)
    if has_few_shot_runs and budget:
        text = f"few-shot runs need budget 0 (one label per class), but budget is {budget}. Set few_shot: false."
        raise section.fault("few_shot", text)
    acquisitions = section.names("acquisitions")
    for acquisition in acquisitions:
        if fault := _acquisition_fault(acquisition, any(method.imports for method in methods)):
            raise section.fault("acquisitions", fault)
    return Rounds(number, budget, gamma, acquisitions, has_few_shot_runs, section.flag("base2new", False))


def _acquisition_fault(acquisition: str, has_modules: bool) -> str:
    """Return why an acquisition function is not allowed in an experiment file, or ""."""
    name, is_balanced = without_pcb(acquisition), acquisition.endswith(PCB)
    if name not in METHODS and not has_modules:
        return f"unknown acquisition function {name!r}{known_names(name, METHODS)}"
    if name == FEW_SHOT_RUNS or not re.fullmatch(r"\w[\w-]*", name):  # the name is also a folder name
        return (
            f"{acquisition!r} is not a valid name of an acquisition function. Use only letters, digits, _ and - (and "
            f"not the name {FEW_SHOT_RUNS})."
        )
    if name == NONE and not is_balanced:
        return f"{NONE} selects no images without PCB. Use {NONE}{PCB}, which is PCB on all images."
    if name == PCB_ALONE and is_balanced:
        return f"{PCB_ALONE} already includes PCB ({PCB_ALONE} is badge{PCB}). Use {PCB_ALONE}."
    return ""


def check(cfg: Any, job: Job) -> None:
    """Raise UserError if a run would select its images in rounds, but the experiment file does not say so."""
    if not cfg.ACTIVE.ROUNDS:
        return
    if job.method.acquisition == FEW_SHOT_RUNS:
        raise UserError(
            f"{cfg.TRAINER.NAME} always selects its images in rounds, so the few-shot runs with which it is compared "
            "need another trainer. Name the trainer of the few-shot runs with `few_shot: {trainer: ..., config: "
            "...}` in the method, or set `few_shot: false` for the experiment."
        )
    if not job.method.acquisition and not job.is_test:
        raise UserError(
            f"{cfg.TRAINER.NAME} with ACTIVE.ROUNDS {cfg.ACTIVE.ROUNDS} selects images in rounds, which is only "
            "supported in experiments with the protocol `active`. Set `protocol: active`, or set ACTIVE.ROUNDS to 0."
        )


def require_registered(job: Job) -> None:
    """Raise SettingError if the acquisition function of a run is not registered; custom modules must be imported."""
    from modprompt.active.acquisition import ACQUISITIONS

    name = without_pcb(job.method.acquisition)
    if name not in ("", FEW_SHOT_RUNS, *ACQUISITIONS):
        check_name(name, METHODS, "ACTIVE.METHOD")
