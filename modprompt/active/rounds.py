"""Rounds of active prompt learning (PCB, arXiv 2311.11178) around any trainer: choose, label, train from scratch, test.

In every round the previous round's model looks at the pool; all labels so far train new prompts. Each round has a new
trainer, which goes on with the generators as they are.
"""

from __future__ import annotations

import hashlib
import random
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dassl.data.datasets import build_dataset
from dassl.engine import TRAINER_REGISTRY, build_trainer
from yacs.config import CfgNode

from modprompt.active import record, selection
from modprompt.active.acquisition import find
from modprompt.active.labelling import Labelling
from modprompt.active.picks_file import Picked
from modprompt.active.pool import Pool, given, spread
from modprompt.active.record import CHOSEN, TESTED, Round, keep_states, restore_states
from modprompt.active.scoring import Scorer
from modprompt.data.reader_facts import is_few_shot, reader_facts, shots_of
from modprompt.data.rounds import Active, known, round_name
from modprompt.data.selection import labels_of_choice, lists_of
from modprompt.errors import SettingError, UserError
from modprompt.io import folder as run_folder
from modprompt.io import identity
from modprompt.io import result as results
from modprompt.io.files import copy_whole, remove_parts
from modprompt.io.images import IMAGE_FILES, image_files, images_hash
from modprompt.io.settings import Settings
from modprompt.methods.table import HEADS, ZERO_SHOT, kind_of, row_of
from modprompt.trainers import artifacts, training_state
from modprompt.trainers.config import RunConfig, method_of
from modprompt.trainers.feature_batches import take_number
from modprompt.trainers.learned import prompts_hash
from modprompt.trainers.result import ResultRecorder
from modprompt.trainers.run_facts import facts_of_run, require_same, settings_of_run
from modprompt.trainers.training_state import generators_kept

_FREE = ("ACTIVE.ROUNDS", "ACTIVE.MANUAL_LABELS")  # may change between starts
_FOR_RESUMING = ("results", "trainer")  # of a round's facts
ZERO_SHOT_TRAINER = "ZeroshotCLIP"  # scores where a first round is not drawn


def settings_of(cfg: RunConfig) -> Active:
    """The settings of rounds in a configuration, checked; SettingError on a wrong one."""
    try:
        active = method_of(Active, cfg.ACTIVE)
        selection.check(active)
        kind = kind_of(cfg.TRAINER.NAME)
        if active.rounds and (kind == ZERO_SHOT or (kind == HEADS and row_of(cfg.TRAINER.NAME).method.in_turn)):
            text = (
                f" is {active.rounds}, but {cfg.TRAINER.NAME} has no training, so rounds are not possible. Set "
                "ACTIVE.ROUNDS 0, or choose another trainer."
            )
            raise SettingError([("ROUNDS", text)])
        if active.rounds and cfg.SEARCH.RUNS:
            text = (
                f" is {active.rounds}, but a search for a schedule cannot run in rounds. Run the search first, then "
                "use the schedule that the search has found in a run with rounds."
            )
            raise SettingError([("ROUNDS", text)])
    except SettingError as error:
        raise error.under("ACTIVE") from None
    return active


def run(cfg: RunConfig, settings: Settings) -> None:
    """Run the rounds that are not done yet, and leave result.json.

    Args:
        cfg: the configuration, its output folder held, its generators seeded.
        settings: what files, flags and options gave.

    Raises:
        UserError: on a wrong setting, or if the run was begun with others.
        WaitsForLabels: if labels are to be filled in.
    """
    TRAINER_REGISTRY.get(cfg.TRAINER.NAME).require_settings(cfg)  # before the labels and the folder are examined
    Rounds(cfg, settings, settings_of(cfg)).run()


def decisive(cfg: CfgNode, pool: Pool, new: Any = None) -> dict[str, str]:
    """The facts that must be the same to resume rounds, as {name: text}.

    Args:
        cfg: the configuration of the run.
        pool: its images.
        new: the data set of the new classes, if they are tested.
    """
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    settings = settings_of_run(cfg, getattr(trainer, "method_class", None), getattr(trainer, "node_name", ""))
    return {
        **{key: text for key, text in settings.items() if key not in _FREE},
        # free in single trainings; here each test draws a number from PyTorch's generator
        "whether TEST.NO_TEST": str(bool(cfg.TEST.NO_TEST)),
        "the pool of images": f"{len(pool.images)} images, {images_hash(pool.images, root=pool.root)}",
        "the validation and test images": images_hash(pool.dataset.val, pool.dataset.test, root=pool.root),
        "the class names": ", ".join(pool.names),
        **({} if new is None else {"the test images of the new classes": images_hash(new.test, root=pool.root)}),
    }


class Rounds:
    """The rounds of one run.

    Args:
        cfg: the configuration.
        settings: what files, flags and options gave.
        active: its settings of rounds.

    Raises:
        UserError: if the pool has fewer images than all rounds together ask for, or a share of it than a round.
    """

    def __init__(self, cfg: RunConfig, settings: Settings, active: Active) -> None:
        self.cfg, self.settings, self.active = cfg, settings, active
        self.folder = record.folder_of(cfg.OUTPUT_DIR)
        with generators_kept():  # making a split draws numbers; finding one does not
            dataset = build_dataset(cfg)
        self.pool = pool = Pool(dataset)
        self.has_test = reader_facts(dataset).has_test and not cfg.TEST.NO_TEST
        self.budget = active.budget or len(pool.names)
        self.of_choice = labels_of_choice(dataset, cfg)
        self.acquisition, self.scorer = find(active.method), Scorer(pool.images)
        wanted, left = active.rounds * self.budget, len(pool.unlabelled)
        if wanted > left:
            raise UserError(
                f"ACTIVE.ROUNDS {active.rounds} with {self.budget} labels per round needs {wanted} unlabelled images, "
                f"but {cfg.DATASET.NAME} has only {left}. Decrease ACTIVE.ROUNDS or ACTIVE.BUDGET."
            )
        selection.candidates(active, self.budget, len(pool.images), left)
        self.labelling = Labelling(self.folder, pool, active.manual_labels, cfg.INPUT.DECODING)
        self.new_classes = NewClasses(cfg) if cfg.DATASET.SUBSAMPLE_CLASSES == "base" and self.has_test else None
        self.done: list[Round] = []
        self.trainer: Any = None  # of the newest round
        self.of_trainings: dict[str, str] = {}  # the facts that the trainings of all rounds share, of earlier rounds
        print(
            f"Active learning: {active.rounds} round{'' if active.rounds == 1 else 's'} with {self.budget} "
            f"label{'' if self.budget == 1 else 's'} each, selected with {active.method}"
            f"{' and PCB' if active.pcb else ''} from {len(pool.images)} images of {len(pool.names)} classes"
            f"{f' ({pool.known_at_start} images are already labelled)' if pool.known_at_start else ''}"
        )
        if is_few_shot(cfg):
            print(
                f"note: images are selected only from the few-shot list with {shots_of(cfg)} shots, not from all "
                "training images. Set DATASET.NUM_SHOTS to -1 to use all training images."
            )
        if not self.has_test:
            print("note: this run tests no images, so no accuracy is reported for the rounds.")
        if self.of_choice:
            print(
                f"note: this run also uses the labels of {self.of_choice} validation images. The number of labels "
                "that is reported for each round includes these validation images."
            )

    def run(self) -> None:
        """Run all rounds that are not done, then write the result."""
        self._resume()
        for number in range(self.active.rounds):
            self._round(number)
        self._finish()

    def _resume(self) -> None:
        """Check the rounds that are there, of this run or another one; UserError if they are not this run's."""
        output_dir = self.cfg.OUTPUT_DIR
        result = results.read(output_dir).result
        if not known(self.folder) and ((result and not result.get("active")) or training_state.exists(output_dir)):
            or_delete = run_folder.or_delete(output_dir)
            raise UserError(
                f"{output_dir} contains a run without active-learning rounds. Use a different --output-dir{or_delete}."
            )
        self.decisive = decisive(self.cfg, self.pool, self.new_classes and self.new_classes.dataset)
        if self.folder.is_dir():
            remove_parts(self.folder)  # of killed writers
        if self.cfg.RESUME:
            record.take_over(self.cfg.RESUME, self.folder, self.decisive)
        rounds = record.require_whole(self.folder)
        if rounds > self.active.rounds:
            raise UserError(
                f"{self.folder} contains {rounds} rounds, more than ACTIVE.ROUNDS {self.active.rounds}. "
                f"Set ACTIVE.ROUNDS to at least {rounds}, or use a different --output-dir."
            )
        if not rounds:  # what a trainer refuses costs nobody a label
            cfg = self.cfg.of_one_training(OUTPUT_DIR="", RESUME="", VERBOSE=False)  # its lists belong to no training
            with generators_kept(), given(cfg.DATASET.NAME, self.pool.for_scoring()):
                build_trainer(cfg)

    def _round(self, number: int) -> None:
        one = record.read(self.folder, number)
        if one is None:
            one = self._choose(number)
        else:
            record.require_same(self.decisive, one, self.folder)
            if None not in one.labels:
                self.labelling.require_unchanged(one)
        self.labelling.show(one)
        if None in one.labels:
            one = self.labelling.labelled(one)
            record.write(self.folder, one)
            self.labelling.show(one)
        for pick in one.picks:
            assert pick.label is not None
            place = self.pool.place(pick.file)
            self.pool.labels[place] = pick.label
            if pick.free is not None:
                self.pool.free.add(place)
        if one.facts is None:
            one = self._train(one)
        assert one.facts is not None
        self.of_trainings = dict(one.facts["trainer"])
        training_state.remove(self._training(number))  # still there if a start was killed right after its record
        self.done.append(one)

    # ------------------------------------------------------------------ choosing

    def _choose(self, number: int) -> Round:
        if number:
            self._load_trainer()
            restore_states(self.folder, number - 1, TESTED)
        print(f"=== Round {number}: selecting images")
        picks = self._picks(number)
        if len(picks) < self.budget:
            print(
                f"note: {self.active.method} selected only {len(picks)} image{'' if len(picks) == 1 else 's'} instead "
                f"of {self.budget}."
            )
        one = Round(number, self.decisive, tuple(picks))
        self.labelling.put_aside(one)
        shutil.rmtree(self._training(number), ignore_errors=True)  # without a record
        self.folder.mkdir(parents=True, exist_ok=True)
        keep_states(self.folder, number, CHOSEN)
        record.write(self.folder, one)
        return one

    def _picks(self, number: int) -> list[Picked]:
        """The picks of a round; draws from all generators as the reference does."""
        pool, unlabelled, active = self.pool, self.pool.unlabelled, self.active
        if not number and not self.acquisition.first:
            drawn = random.sample(unlabelled, self.budget)
            return [Picked(pool.file(place), None, None, None, "drawn at random (first round)") for place in drawn]
        trainer = self.trainer if number else self._zero_shot()
        batch = self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        seen = self.scorer.seen(trainer, unlabelled, pool.labels, self.acquisition.needs, batch)
        for _ in range(self.acquisition.passes + selection.has_pcb(active)):
            take_number()
        picks = selection.select(seen, active, self.budget, len(pool.images), pool.counts(), pool.names)
        return [Picked(pool.file(unlabelled[pick.position]), *pick[1:]) for pick in picks]

    def _zero_shot(self) -> Any:
        """The trainer of zero-shot CLIP; building it draws the random numbers of a CLIP's constructor."""
        cfg = self.cfg.of_one_training(OUTPUT_DIR="", RESUME="", VERBOSE=False, **{"TRAINER.NAME": ZERO_SHOT_TRAINER})
        with given(cfg.DATASET.NAME, self.pool.for_scoring()):
            return TRAINER_REGISTRY.get(ZERO_SHOT_TRAINER)(cfg)

    # ------------------------------------------------------------------ training

    def _training(self, number: int) -> str:
        """The output folder of a round's training."""
        return str(self.folder / round_name(number))

    def _built(self, number: int) -> Any:
        """A trainer on the labels so far; UserError if what decides its training differs from earlier rounds."""
        cfg = self.cfg.of_one_training(OUTPUT_DIR=self._training(number), RESUME="")
        cfg = cfg if self.has_test else cfg.changed({"TEST.NO_TEST": True})
        with given(cfg.DATASET.NAME, self.pool.as_dataset()):
            trainer = build_trainer(cfg)
        facts = {**facts_of_run(trainer), identity.INITIAL: trainer.initial_hash}
        facts.pop(identity.TRAINING_IMAGES, None)
        require_same(facts, self.of_trainings or facts, str(self.folder))
        self.of_trainings = facts
        return trainer

    def _train(self, one: Round) -> Round:
        """Train, test and record the round, resuming where an earlier start was killed."""
        started, output_dir = time.time(), self._training(one.number)
        restore_states(self.folder, one.number, CHOSEN)
        print(f"=== Round {one.number}: training with {len(self.pool.labels)} labelled images")
        self.trainer = None  # its memory first
        if not training_state.exists(output_dir):
            shutil.rmtree(output_dir, ignore_errors=True)  # checkpoints alone do not have the generators' states
        with run_folder.hold(output_dir):
            self.trainer = self._built(one.number)
            self.trainer.keeps_state = True  # until the generators' states are on record
            recorder = ResultRecorder(self.trainer)
            self.trainer.train()
            recorder.write(self.trainer.cfg, "", self.settings)
        keep_states(self.folder, one.number, TESTED)
        tested = {name: float(value) for name, value in (recorder.results or {}).items()}
        facts = {**self._facts(one, tested), "elapsed_s": round(time.time() - started, 1)}
        one = one._replace(facts=facts)
        record.write(self.folder, one)
        return one

    def _load_trainer(self) -> None:
        """Have the trainer of the newest round: the one that trained it, or a new one with its prompts.

        No generator moves. UserError if the prompts are missing, or not those on record.
        """
        if self.trainer is not None:
            return
        number, facts = self.done[-1].number, self.done[-1].facts or {}
        output_dir = self._training(number)
        anew = (
            f"To train again from round {number} on, move {output_dir}.json and the files of all later rounds to "
            "another folder, then run the same command again."
        )
        with generators_kept(), run_folder.hold(output_dir):
            trainer = self._built(number)
            try:
                trainer.load_model(output_dir)
            except UserError as error:
                said = str(error).rstrip(".")
                raise UserError(f"The prompts of round {number} cannot be loaded ({said}). {anew}") from None
        if prompts_hash(trainer.model.learned) != facts["prompts_hash"]:
            raise UserError(
                f"The prompts in {output_dir} differ from the prompts that were tested in round {number}. {anew}"
            )
        self.trainer = trainer

    def _facts(self, one: Round, tested: Mapping[str, float]) -> dict[str, Any]:
        """What is recorded of a round, with what its evaluator found, in percent; nothing without test images."""
        free = sum(pick.free is not None for pick in one.picks)
        asked, earlier = len(one.picks) - free, (self.done[-1].facts or {}) if self.done else {}
        return {
            "round": one.number,
            "picked": len(one.picks),
            "free": free,
            "asked": asked,
            "labels": asked + earlier.get("labels", 0),
            "images": len(self.pool.labels),
            "accuracy_pct": tested["accuracy"] if self.has_test else None,
            "new_accuracy_pct": self.new_classes.accuracy_pct(self.trainer) if self.new_classes else None,
            "results": dict(tested),
            "trainer": self.of_trainings,
            **spread(self.pool.counts()),
            "wrong_free": self.pool.wrong(),
            "prompts_hash": prompts_hash(self.trainer.model.learned),
            **({results.IMAGES_CHANGED: True} if self.trainer.images_changed else {}),
        }

    # ------------------------------------------------------------------ the end

    def _finish(self) -> None:
        """Leave the last round's files and the result where a run without rounds has its own."""
        last, output_dir = self.done[-1], self.cfg.OUTPUT_DIR
        assert last.facts is not None
        self._load_trainer()
        source = Path(self._training(last.number))
        for name in self.trainer.get_model_names():
            for path in sorted((source / name).iterdir()):
                if path.is_file():
                    copy_whole(path, Path(output_dir) / name / path.name)
        files = artifacts.of_another(str(source), output_dir)
        print(overview(self.done))
        recorder = ResultRecorder(self.trainer)
        recorder.results = last.facts["results"]
        more = {**files, **self._result()}
        more[IMAGE_FILES] = image_files(lists_of(self.pool.dataset, self.cfg), self.pool.root)
        if self.new_classes is not None and self.new_classes.class_bound:
            more["class_bound"] = True
        print(f"Result: {recorder.write(self.cfg, '', self.settings, more=more)}")
        if self.labelling.asks:
            words = shlex.join([output_dir, self.pool.root, "--csv", "labels_of_the_model.csv"])
            print(f"To label the remaining images with the model, run `modprompt predict {words}`.")

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
        if any(facts.pop(results.IMAGES_CHANGED, False) for facts in rounds):
            result[results.IMAGES_CHANGED] = results.CHANGED_DURING
        if rounds[-1]["accuracy_pct"] is None:  # there were no test images
            untested = results.NO_TEST if self.cfg.TEST.NO_TEST else results.NO_IMAGES
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
        free = f", {facts['asked']} requested labels and {facts['free']} free labels"
        free = free if any(one["free"] for one in rounds) else ""
        new = "" if facts["new_accuracy_pct"] is None else f", new classes {facts['new_accuracy_pct']}"
        lines.append(f"{facts['round']}: {accuracy}{new}{free}")
    return "\n".join(["=== Result Overview ===", *lines, "======================="])


class NewClasses:
    """The test images of the new classes.

    Args:
        cfg: the configuration of a run on the base classes.

    Attributes:
        class_bound: whether what was learned per class had no effect on these.
    """

    def __init__(self, cfg: RunConfig) -> None:
        new = cfg.of_one_training(**{"DATASET.SUBSAMPLE_CLASSES": "new"})
        with generators_kept():
            self.dataset = build_dataset(new)
        self.names, self.dataset_name = list(self.dataset.classnames), cfg.DATASET.NAME
        self.class_bound = False
        self._scorer, self._told = Scorer(self.dataset.test), False

    def accuracy_pct(self, trainer: Any) -> float | None:
        """Accuracy of a trainer's prompts on the new classes, in percent; None for class-specific ones."""
        if trainer.model.prompt_learner.bound:
            if not self._told:
                print(
                    "note: the new classes are not tested, because class-specific prompts (CSC) cannot classify them."
                )
            self._told = True
            return None
        with generators_kept():
            model = trainer.model.with_classes(
                self.names, self.dataset_name, listed=True, which=reader_facts(self.dataset).which
            )
            self.class_bound = model.class_bound
            accuracy = self._scorer.accuracy_pct(trainer, model)
        print(f"* accuracy on {len(self.names)} new classes: {accuracy:.1f}%")
        return accuracy
