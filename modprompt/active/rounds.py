"""Rounds of active prompt learning (PCB, arXiv 2311.11178) around any trainer: choose, label, train from scratch, test.

In every round the model of the round before looks at the pool; all labels so far train new prompts. A trainer is built
anew for each, with the generators where they are.
"""

from __future__ import annotations

import time
from typing import Any, Mapping

import sklearn.metrics  # noqa: F401 - what it imports draws from Python's generator: not in the middle of a run
from dassl.data.datasets import build_dataset
from dassl.engine import TRAINER_REGISTRY
from yacs.config import CfgNode

from modprompt.active import generators, labelling, record, selection
from modprompt.active.choosing import Chooser
from modprompt.active.labelling import Labelling
from modprompt.active.new_classes import NewClasses
from modprompt.active.outcome import active_record, overview
from modprompt.active.pool import Pool, spread
from modprompt.active.record import Round
from modprompt.active.trainings import Trainings
from modprompt.errors import SettingError, UserError
from modprompt.methods.table import ZERO_SHOT, kind_of
from modprompt.runs import result as results
from modprompt.runs.rounds import Active
from modprompt.runs.settings import Settings
from modprompt.storage.parts import remove_parts
from modprompt.trainers import training_state
from modprompt.trainers.nodes import method_of
from modprompt.trainers.result import ResultRecorder, prompts_hash


def settings_of(cfg: CfgNode) -> Active:
    """What a configuration says of its rounds, checked.

    Raises:
        SettingError: if something does not fit.
    """
    try:
        active = method_of(Active, cfg.ACTIVE)
        selection.check(active)
        if not active.rounds:
            return active
        if kind_of(cfg.TRAINER.NAME) == ZERO_SHOT:
            raise SettingError([("ROUNDS", f": {cfg.TRAINER.NAME} trains nothing")])
        if cfg.SEARCH.RUNS:
            raise SettingError([("ROUNDS", ": a search is not run in rounds; give rounds the schedule that it leaves")])
    except SettingError as error:
        raise error.under("ACTIVE") from None
    return active


def run(cfg: CfgNode, settings: Settings) -> None:
    """Run the rounds that are not done yet, and leave result.json.

    Args:
        cfg: the configuration, its output folder held, its generators seeded.
        settings: what files, flags and options gave.

    Raises:
        UserError: if something does not fit, or the run was begun otherwise.
        WaitsForLabels: if labels are to be filled in.
    """
    if not cfg.OUTPUT_DIR:
        raise UserError("ACTIVE.ROUNDS: rounds are kept in the output folder: give --output-dir")
    Rounds(cfg, settings, settings_of(cfg)).run()


class Rounds:
    """The rounds of one run.

    Args:
        cfg: the configuration.
        settings: what files, flags and options gave.
        active: what it says of rounds.
    """

    def __init__(self, cfg: CfgNode, settings: Settings, active: Active) -> None:
        self.cfg, self.settings, self.active = cfg, settings, active
        self.folder = record.folder_of(cfg.OUTPUT_DIR)
        with generators.kept():  # a split that has to be made draws; whoever finds it there does not
            dataset = build_dataset(cfg)
        self.pool = Pool(dataset)
        self.has_test = bool(getattr(dataset, "has_test", True)) and not cfg.TEST.NO_TEST
        self.budget = active.budget or len(self.pool.names)
        self.chooser = Chooser(cfg, active, self.pool, self.budget)
        self.labelling = Labelling(self.folder, self.pool, active.ask)
        self.new_classes = NewClasses(cfg) if cfg.DATASET.SUBSAMPLE_CLASSES == "base" and self.has_test else None
        self.trainings = Trainings(cfg, settings, self.folder, self.pool, self.has_test)
        self.done: list[Round] = []
        self._say()

    def _say(self) -> None:
        active, pool = self.active, self.pool
        known = f", {pool.known_at_start} of them with a label" if pool.known_at_start else ""
        print(
            f"Active learning: {active.rounds} rounds of {self.budget} labels, chosen by {active.method}"
            f"{' with PCB' if active.pcb else ''} from {len(pool.images)} images{known} of {len(pool.names)} classes"
        )
        if self.cfg.DATASET.NUM_SHOTS >= 1:
            print(
                f"note: the pool is the few-shot list of DATASET.NUM_SHOTS {self.cfg.DATASET.NUM_SHOTS}, -1 takes all"
            )
        if not self.has_test:
            print("note: there are no test images: rounds have no accuracy")
        if pool.dataset.val and self.cfg.TEST.FINAL_MODEL == "best_val":
            print(f"note: {len(pool.dataset.val)} validation images have labels that no round has asked for")

    def run(self) -> None:
        """All rounds that are not done, then the result."""
        if self.folder.is_dir():
            remove_parts(self.folder)  # of killed writers
        self._take_over()
        self._require_same_run()
        for number in range(self.active.rounds):
            self._round(number)
        self._finish()

    # ------------------------------------------------------------------ what was done before

    def _decisive(self) -> dict[str, str]:
        """What must be the same for rounds to be gone on with, as {name: text}."""
        own = getattr(TRAINER_REGISTRY.get(self.cfg.TRAINER.NAME), "node_name", "")
        mine = ("TRAINER.NAME", f"TRAINER.{own}.")
        free = ("ACTIVE.ROUNDS", "ACTIVE.ASK")
        return {
            **{
                key: text
                for key, text in training_state.settings_of(self.cfg).items()
                if key not in free and (not key.startswith("TRAINER.") or key.startswith(mine))
            },
            "the pool of images": self.pool.fingerprint(),
            "the class names": ", ".join(self.pool.names),
        }

    def _take_over(self) -> None:
        """Go on from another run's folder, RESUME, where this one has no rounds yet.

        Raises:
            UserError: if there are none either.
        """
        other = self.cfg.RESUME
        if not other or record.known(self.folder):
            return
        if not record.known(record.folder_of(other)):
            raise UserError(f"RESUME: there are no rounds to go on from in {other}")
        record.copy_all(record.folder_of(other), self.folder)
        print(f"Going on from the rounds of {other}")

    def _require_same_run(self) -> None:
        self.decisive = self._decisive()
        there = record.known(self.folder)
        own = self.cfg.OUTPUT_DIR
        if not there and (results.read(own).result or training_state.exists(own)):
            raise UserError(f"{own} holds a run without rounds: give another --output-dir, or delete it")
        if there != list(range(len(there))):
            gap = next(number for number in range(len(there)) if number not in there)
            raise UserError(
                f"{self.folder} has round {there[-1]} but no record of round {gap}: move the rounds behind it away"
            )

    def _read(self, number: int) -> Round | None:
        one = record.read(self.folder, number, len(self.pool.names))
        if one is not None:
            training_state.require_same(self.decisive, one.settings, str(self.folder))
            if one.facts is not None:
                self.trainings.decisive = dict(one.facts["trainer"])
                self.labelling.require_unchanged(one)
        return one

    # ------------------------------------------------------------------ one round

    def _round(self, number: int) -> None:
        one = self._read(number) or self._choose(number)
        if not one.labelled:
            one = self.labelling.labelled(one)
            record.write(self.folder, one)
            labelling.write_files(self.folder, one, self.pool)
        for pick in one.picks:
            assert pick.label is not None
            self.pool.label(self.pool.place(pick.file), pick.label, pick.free is not None)
        if one.facts is None:
            one = self._train(one)
        self.done.append(one)

    def _choose(self, number: int) -> Round:
        trainer = self.trainings.trainer_of(number - 1) if number else None
        if number:
            generators.put(self.done[-1].generators)
        print(f"=== Round {number}: choosing")
        picks = self.chooser.choose(trainer)
        one = Round(number, self.decisive, tuple(picks), generators.taken())
        record.write(self.folder, one)
        labelling.write_files(self.folder, one, self.pool)
        return one

    def _train(self, one: Round) -> Round:
        """The round, trained, tested and on record."""
        started = time.time()
        generators.put(one.generators)
        print(f"=== Round {one.number}: training on {len(self.pool.labels)} images")
        trainer, results = self.trainings.train(one.number)
        behind = generators.taken()
        facts = {**self._facts(one, trainer, results), "elapsed_s": round(time.time() - started, 1)}
        one = one._replace(generators=behind, facts=facts)
        record.write(self.folder, one)
        self.trainings.settled(one.number)
        return one

    def _facts(self, one: Round, trainer: Any, results: Mapping[str, Any]) -> dict[str, Any]:
        new = self.new_classes.accuracy_pct(trainer) if self.new_classes else None
        free = sum(pick.free is not None for pick in one.picks)
        asked = len(one.picks) - free
        before = self.done[-1].facts if self.done else None
        return {
            "round": one.number,
            "picked": len(one.picks),
            "free": free,
            "asked": asked,
            "labels": asked + (before["labels"] if before else 0),
            "images": len(self.pool.labels),
            "accuracy_pct": float(results["accuracy"]) if self.has_test else None,
            "new_accuracy_pct": new,
            "results": dict(results),
            "trainer": self.trainings.decisive,
            **spread(self.pool.counts()),
            "wrong_free": self.pool.wrong(),
            "prompts_hash": prompts_hash(trainer.model.prompt_learner),
        }

    # ------------------------------------------------------------------ the end

    def _finish(self) -> None:
        last = self.done[-1]
        assert last.facts is not None
        self.trainings.leave(last.number)
        print(overview(self.done))
        recorder = ResultRecorder(self.trainings.trainer_of(last.number))
        recorder.results = last.facts["results"]
        more = active_record(self.active, self.budget, self.pool, self.done)
        print(f"Result: {recorder.write(self.cfg, '', self.settings, more=more)}")
