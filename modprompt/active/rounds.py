"""Rounds of active prompt learning (PCB, arXiv 2311.11178) around any trainer: choose, label, train from scratch, test.

In every round the previous round's model looks at the pool; all labels so far train new prompts. Each round has a new
trainer, which goes on with the generators as they are.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dassl.data.datasets import build_dataset
from dassl.engine import TRAINER_REGISTRY

from modprompt.active import generators, record, same_run, selection
from modprompt.active.choosing import Chooser
from modprompt.active.labelling import Labelling, differing
from modprompt.active.pool import Pool, spread
from modprompt.active.record import CHOSEN, TESTED, Round, keep_states, restore_states
from modprompt.active.scoring import Scorer
from modprompt.active.trainings import Trainings
from modprompt.data.rounds import Active
from modprompt.errors import SettingError, UserError
from modprompt.io.files import remove_parts
from modprompt.io.images import IMAGE_FILES, image_files, labels_of_choice, lists_of, reader_facts
from modprompt.io.result import NO_IMAGES, NO_TEST
from modprompt.io.settings import Settings
from modprompt.methods.table import ZERO_SHOT, kind_of
from modprompt.trainers.config_nodes import method_of
from modprompt.trainers.learned import prompts_hash
from modprompt.trainers.result import ResultRecorder
from modprompt.trainers.run_config import RunConfig

_FOR_RESUMING = ("results", "trainer")  # of a round's facts


def settings_of(cfg: RunConfig) -> Active:
    """The settings of rounds in a configuration, checked; SettingError on a wrong one."""
    try:
        active = method_of(Active, cfg.ACTIVE)
        selection.check(active)
        if active.rounds and kind_of(cfg.TRAINER.NAME) == ZERO_SHOT:
            raise SettingError([("ROUNDS", f": {cfg.TRAINER.NAME} trains nothing")])
        if active.rounds and cfg.SEARCH.RUNS:
            said = ": a search is not run in rounds; give rounds the schedule that it leaves"
            raise SettingError([("ROUNDS", said)])
    except SettingError as error:
        raise error.under("ACTIVE") from None
    return active


def changed(folder: str, result: Mapping[str, Any]) -> list[str]:
    """Which rounds of a finished run have other labels now, or no record any more."""
    return differing(folder, result) if result.get("active") else []


def run(cfg: RunConfig, settings: Settings) -> None:
    """Run the rounds that are not done yet, and leave result.json.

    Args:
        cfg: the configuration, its output folder held, its generators seeded.
        settings: what files, flags and options gave.

    Raises:
        UserError: on a wrong setting, or if the run was begun with others.
        WaitsForLabels: if labels are to be filled in.
    """
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    trainer.check_cfg(trainer.__new__(trainer), cfg)  # what it refuses by its settings alone comes first
    Rounds(cfg, settings, settings_of(cfg)).run()


class Rounds:
    """The rounds of one run.

    Args:
        cfg: the configuration.
        settings: what files, flags and options gave.
        active: its settings of rounds.
    """

    def __init__(self, cfg: RunConfig, settings: Settings, active: Active) -> None:
        self.cfg, self.settings, self.active = cfg, settings, active
        self.folder = record.folder_of(cfg.OUTPUT_DIR)
        with generators.kept():  # making a split draws numbers; finding one does not
            dataset = build_dataset(cfg)
        self.pool = Pool(dataset)
        self.has_test = reader_facts(dataset).has_test and not cfg.TEST.NO_TEST
        self.budget = active.budget or len(self.pool.names)
        self.of_choice = labels_of_choice(dataset, cfg)
        self.chooser = Chooser(cfg, active, self.pool, self.budget)
        self.labelling = Labelling(self.folder, self.pool, active.ask)
        self.new_classes = NewClasses(cfg) if cfg.DATASET.SUBSAMPLE_CLASSES == "base" and self.has_test else None
        self.trainings = Trainings(cfg, settings, self.folder, self.pool, self.has_test)
        self.done: list[Round] = []
        self._tell()

    def _tell(self) -> None:
        active, pool = self.active, self.pool
        known = f", {pool.known_at_start} of them with a label" if pool.known_at_start else ""
        print(
            f"Active learning: {active.rounds} rounds of {self.budget} labels, chosen by {active.method}"
            f"{' with PCB' if active.pcb else ''} from {len(pool.images)} images{known} of {len(pool.names)} classes"
        )
        if self.cfg.DATASET.NUM_SHOTS >= 1:
            print(f"note: the pool is the few-shot list of DATASET.NUM_SHOTS {self.cfg.DATASET.NUM_SHOTS}; -1 is all")
        if not self.has_test:
            print("note: there are no test images: rounds have no accuracy")
        if self.of_choice:
            print(f"note: {self.of_choice} validation images have labels that no round asks for: all rounds count them")

    def run(self) -> None:
        """Run all rounds that are not done, then write the result."""
        self._resume()
        for number in range(self.active.rounds):
            self._round(number)
        self._finish()

    def _resume(self) -> None:
        """Check the rounds that are there, of this run or another one; UserError if they are not this run's."""
        same_run.require_own_folder(self.cfg.OUTPUT_DIR)
        new = None if self.new_classes is None else self.new_classes.dataset
        self.decisive = same_run.decisive(self.cfg, self.pool, new)
        if self.folder.is_dir():
            remove_parts(self.folder)  # of killed writers
        if self.cfg.RESUME:
            same_run.take_over(self.cfg.RESUME, self.folder, self.decisive)
        rounds = same_run.require_whole(self.folder)
        if rounds > self.active.rounds:
            raise UserError(
                f"{self.folder} has {rounds} rounds, more than ACTIVE.ROUNDS {self.active.rounds}: "
                "ask for as many, or give another --output-dir"
            )
        if not rounds:
            self.trainings.try_out()

    def _read(self, number: int) -> Round | None:
        one = record.read(self.folder, number)
        if one is not None:
            same_run.require_same(self.decisive, one, self.folder)
            self.trainings.know(one)
            if None not in one.labels:
                self.labelling.require_unchanged(one)
        return one

    def _round(self, number: int) -> None:
        one = self._read(number) or self._choose(number)
        self.labelling.show(one)
        if None in one.labels:
            one = self.labelling.labelled(one)
            record.write(self.folder, one)
            self.labelling.show(one)
        for pick in one.picks:
            assert pick.label is not None
            self.pool.label(self.pool.place(pick.file), pick.label, pick.free is not None)
        if one.facts is None:
            one = self._train(one)
        self.trainings.settled(number)  # not yet done if a start was killed right after its record
        self.done.append(one)

    def _choose(self, number: int) -> Round:
        trainer = None
        if number:
            trainer = self.trainings.trainer_of(number - 1)
            restore_states(self.folder, number - 1, TESTED)
        print(f"=== Round {number}: choosing")
        picks = self.chooser.choose(trainer)
        if len(picks) < self.budget:
            print(f"note: {self.active.method} chose {len(picks)} images, fewer than {self.budget}")
        one = Round(number, self.decisive, tuple(picks))
        self.labelling.put_aside(one)
        self.trainings.forget(number)  # a training without a record
        self.folder.mkdir(parents=True, exist_ok=True)
        keep_states(self.folder, number, CHOSEN)
        record.write(self.folder, one)
        self.trainings.know(one)
        return one

    def _train(self, one: Round) -> Round:
        """Train, test and record the round."""
        started = time.time()
        restore_states(self.folder, one.number, CHOSEN)
        print(f"=== Round {one.number}: training on {len(self.pool.labels)} images")
        trainer, results = self.trainings.train(one.number)
        keep_states(self.folder, one.number, TESTED)
        facts = {**self._facts(one, trainer, results), "elapsed_s": round(time.time() - started, 1)}
        one = one._replace(facts=facts)
        record.write(self.folder, one)
        self.trainings.know(one)
        return one

    def _facts(self, one: Round, trainer: Any, results: Mapping[str, Any]) -> dict[str, Any]:
        free = sum(pick.free is not None for pick in one.picks)
        asked = len(one.picks) - free
        earlier = (self.done[-1].facts or {}) if self.done else {}
        return {
            "round": one.number,
            "picked": len(one.picks),
            "free": free,
            "asked": asked,
            "labels": asked + earlier.get("labels", 0),
            "images": len(self.pool.labels),
            "accuracy_pct": float(results["accuracy"]) if self.has_test else None,
            "new_accuracy_pct": self.new_classes.accuracy_pct(trainer) if self.new_classes else None,
            "results": dict(results),
            "trainer": self.trainings.decisive,
            **spread(self.pool.counts()),
            "wrong_free": self.pool.wrong(),
            "prompts_hash": prompts_hash(trainer.model.learned),
        }

    def _finish(self) -> None:
        """Leave the last round's files and the result where a run without rounds has its own."""
        last = self.done[-1]
        assert last.facts is not None
        files = self.trainings.leave(last.number)
        print(overview(self.done))
        recorder = ResultRecorder(self.trainings.trainer_of(last.number))
        recorder.results = last.facts["results"]
        more = {**files, **self._result()}
        more[IMAGE_FILES] = image_files(lists_of(self.pool.dataset, self.cfg), self.pool.root)
        if self.new_classes is not None and self.new_classes.class_bound:
            more["class_bound"] = True
        print(f"Result: {recorder.write(self.cfg, '', self.settings, more=more)}")
        if self.labelling.asks:
            words = shlex.join([self.cfg.OUTPUT_DIR, self.pool.root, "--csv", "labels_of_the_model.csv"])
            print(f"To label the rest with the model: modprompt predict {words}")

    def _result(self) -> dict[str, Any]:
        """What result.json holds on a run in rounds; it replaces what its last training wrote."""
        rounds = []
        for one in self.done:
            facts = {key: value for key, value in (one.facts or {}).items() if key not in _FOR_RESUMING}
            facts["labels"] += self.of_choice  # records count those that were asked for
            rounds.append({**facts, "picks_hash": picks_hash(one)})
        active = {
            "method": self.active.method,
            "pcb": self.active.pcb,
            "gamma": self.active.gamma,
            "budget": self.budget,
            "labels_of_choice": self.of_choice,
            "classes": len(self.pool.names),
            "pool": len(self.pool.images),
            "labelled_before": self.pool.known_at_start,
            "new_classes": any(one["new_accuracy_pct"] is not None for one in rounds),
            "rounds": rounds,
        }
        result = {"active": active, "elapsed_s": round(sum(one["elapsed_s"] for one in rounds), 1)}
        if rounds[-1]["accuracy_pct"] is None:  # there were no test images
            untested = NO_TEST if self.cfg.TEST.NO_TEST else NO_IMAGES
            result |= {"accuracy_pct": None, "images": 0, "correct": 0, "tested_on": "nothing", "untested": untested}
        return result


def picks_hash(one: Round) -> str:
    """Twelve hex digits of a round's picks, in order, and their labels."""
    text = "".join(f"{pick.file}\t{pick.label}\n" for pick in one.picks)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def overview(done: Sequence[Round]) -> str:
    """One line per round, as in the reference's log; where the model gave labels, with their number."""
    lines, rounds = [], [one.facts or {} for one in done]
    for facts in rounds:
        accuracy = "no test images" if facts["accuracy_pct"] is None else str(facts["accuracy_pct"])
        free = f", {facts['asked']} asked for and {facts['free']} free" if any(one["free"] for one in rounds) else ""
        new = "" if facts["new_accuracy_pct"] is None else f", new classes {facts['new_accuracy_pct']}"
        lines.append(f"{facts['round']}: {accuracy}{new}{free}")
    return "\n".join(["=== Result Overview ===", *lines, "======================="])


class NewClasses:
    """The test images of the new classes.

    Args:
        cfg: the configuration of a run on the base classes.
    """

    def __init__(self, cfg: RunConfig) -> None:
        new = cfg.of_one_training(**{"DATASET.SUBSAMPLE_CLASSES": "new"})
        with generators.kept():
            self.dataset = build_dataset(new)
        self.names, self.dataset_name = list(self.dataset.classnames), cfg.DATASET.NAME
        self._scorer = Scorer(self.dataset.test)
        self._told = False
        self.class_bound = False  # whether what was learned per class had no effect on these

    def accuracy_pct(self, trainer: Any) -> float | None:
        """Accuracy of a trainer's prompts on the new classes, in percent; None for class-specific ones."""
        if trainer.model.prompt_learner.bound:
            if not self._told:
                print("note: class-specific prompts (CSC) do not fit new classes, which are not tested")
            self._told = True
            return None
        with generators.kept():
            model = trainer.model.with_classes(
                self.names, self.dataset_name, listed=True, which=reader_facts(self.dataset).which
            )
            self.class_bound = bool(getattr(model, "class_bound", False))
            accuracy = self._scorer.accuracy_pct(trainer, model)
        print(f"* accuracy on {len(self.names)} new classes: {accuracy:.1f}%")
        return accuracy
