"""Checkpoints of what a trainer learns: saved without CLIP, with what they were made with; ours and others' load."""

import numbers
import os
import warnings
from typing import Any

from modprompt.data.selection import selected_on
from modprompt.errors import UserError
from modprompt.fields import as_config
from modprompt.io import program_words
from modprompt.io import result as results
from modprompt.io.checkpoint import BEST, CHOICE, Checkpoint, find_checkpoint, newest_checkpoint, require_best
from modprompt.io.files import copy_whole, sha256_of
from modprompt.io.records import KEY
from modprompt.io.same_run import BEGAN_FROM, CLIP, SENTENCES
from modprompt.methods.parts.learners import trained_classes
from modprompt.methods.records import (
    content_hashes,
    count_classes,
    describe,
    load_learner,
    method_record,
    require_own_classes,
    searched_by,
    settings_beside,
)
from modprompt.trainers import run_folder
from modprompt.trainers.part import Part


def _epoch_of(*given: Any) -> int | None:
    """The first of these that is the number of an epoch, or its text; None if there is none."""
    for one in given:
        is_number = isinstance(one, numbers.Real) and not isinstance(one, bool) and float(one).is_integer()
        if is_number or (isinstance(one, str) and one.strip().isdecimal()):
            return int(one)
    return None


class Checkpoints(Part):
    """Saves and loads what a trainer learns; its models are CheckpointViews.

    Attributes:
        loaded: the checkpoint that was loaded last.
        path: its path; "" if `load` was called without a folder.
        initial_hash: hash of the file that MODEL.INIT_WEIGHTS names.
    """

    loaded: Checkpoint | None = None
    path: str | None = None
    initial_hash = ""

    @property
    def not_in_checkpoints(self) -> tuple[str, ...]:
        """Settings in which a checkpoint may differ from the run."""
        return ("PREC", *(one.key for one in self.method.settings() if not one.compared))

    def made_with(self) -> dict[str, str]:
        """What must be the same to load a checkpoint of this run: method, settings, CLIP, as {name: text}."""
        node = {key: str(value) for key, value in self.run.node.items() if key not in self.not_in_checkpoints}
        facts = {f"TRAINER.{self.run.node_name}.{key}": value for key, value in node.items()}
        learner = self.method.learner_of or self.run.node_name
        facts.update({"the method": learner, CLIP: self.run.fingerprint, **self.run.tokenizer})
        return {**facts, **settings_beside(self.method), **searched_by(self.method), **content_hashes(self.method)}

    def method_record(self) -> dict[str, Any]:
        """A file's record of the method, with the settings of the config's node, which a codebase may have made."""
        node = {key: as_config(value) for key, value in self.run.node.items() if key != "PREC"}
        return {**method_record(self.method), "config": node}

    def describe(self) -> dict[str, Any]:
        """The record in a checkpoint of this run."""
        model = self.model
        return describe(self.method_record(), model.classes, model.clip_facts, model.prompt_learner, self.of_run())

    def of_run(self) -> dict[str, Any]:
        """A checkpoint's record of the run that made it."""
        chosen = selected_on(self.trainer.dm.dataset, self.cfg)
        resume = self.trainer.resume
        began = {BEGAN_FROM: resume.began_from} if resume.began_from else {}
        changed = {results.IMAGES_CHANGED: results.CHANGED_DURING} if resume.images_changed else {}
        return {"settings": resume.settings(), **({"selected_on": chosen} if chosen else {}), **began, **changed}

    def save(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Save what is learned, without CLIP and the optimiser, and the record that says what it is.

        Raises:
            FloatingPointError: if a loss that was not read before is not finite; nothing is saved then.
        """
        self.trainer.unread.check()
        for name in self.trainer.get_model_names():
            state = {
                "state_dict": self.trainer._models[name].state_dict(),
                "epoch": epoch + 1,
                "val_result": None if val_result is None else float(val_result),
                KEY: self.describe(),
            }
            folder = os.path.join(directory, name)
            path = run_folder.save_checkpoint(state, folder, model_name)
            saved = [path]
            if is_best:
                saved.append(os.path.join(folder, BEST))
                copy_whole(path, saved[-1])
            if program_words.in_codebase():
                for one in saved:
                    run_folder.keep_checkpoint(one, directory)

    def go_on(self, directory: str) -> int:
        """Go on from the newest checkpoint in a run's folder, which must have been made with this run's settings.

        Returns:
            Number of finished epochs; 0 if there is no checkpoint.
        """
        epoch = 0
        for name in self.trainer.get_model_names():
            folder = os.path.join(directory, name)
            if not os.path.isfile(os.path.join(folder, "checkpoint")):
                print("No checkpoint found, train from scratch")
                return 0
            path = newest_checkpoint(folder)
            epoch = self.load_file(self.trainer._models[name], path)
            goes_on = epoch < self.trainer.max_epoch
            if goes_on:
                print(f"Found checkpoint {path}. The training continues after epoch {epoch} with a new optimizer.")
            else:
                print(f"Found checkpoint {path} of the last epoch.")
            self.pass_epochs(name, epoch)
        return epoch

    def pass_epochs(self, name: str, epochs: int) -> None:
        """Advance a model's learning rate, if it changes, by so many epochs."""
        building = self.trainer.building
        epochs = building.steps_before(epochs) if building.each_step else epochs
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that no step was made yet
            for _ in range(epochs if self.trainer._scheds[name] is not None else 0):
                self.trainer._scheds[name].step()

    def load(self, directory: str | None, *more: Any, epoch: int | None = None, **kwargs: Any) -> None:
        """Load a checkpoint of this trainer, ours or the reference's, from a run's output folder.

        Args:
            directory: the output folder of a run; without one nothing is loaded, and a message says so, as in Dassl.
            more: the epoch, given without its name; what else some codebases pass is not read.
            epoch: whose checkpoint; without it model-best.pth.tar, or if there is none the newest.
            kwargs: load_epoch, the same; all else is not read.

        Raises:
            UserError: if there is no such checkpoint or it does not fit.
        """
        if not directory:
            print("note: load_model() was called without a directory (--model-dir), so no checkpoint is loaded.")
            self.path = ""
            return
        epoch = _epoch_of(epoch, kwargs.get("load_epoch"), *more)
        for name in self.trainer.get_model_names():
            path = run_folder.kept_checkpoint(directory, name, epoch)
            if path:
                print(
                    f"note: the directory {os.path.join(directory, name)} was deleted. The copy of its checkpoint, "
                    f"{path}, is loaded instead."
                )
            else:
                path = find_checkpoint(os.path.join(directory, name), epoch)
            if epoch is None:
                require_best(path, best=bool(self.trainer.resume.best_on))
            found = self.load_file(self.trainer._models[name], path)
            self._tell_learner()
            self.path = path
            print(f'Loading weights to {name} from "{path}" (epoch = {found})')

    def load_for_test(self) -> None:
        """Load what --model-dir names if a codebase's program was told to test it but never loads it (PLOT++)."""
        if self.path is not None or not program_words.only_tests() or self.cfg.MODEL.INIT_WEIGHTS:
            return
        directory, epoch = program_words.user_words().model_to_test()
        if directory:
            print(
                "note: this program did not load the checkpoint in --model-dir before the test, so modprompt loads it "
                "now."
            )
        self.load(directory, epoch=epoch)

    def load_initial(self, view: Any) -> None:
        """Load the file MODEL.INIT_WEIGHTS into what is trained."""
        path = self.cfg.MODEL.INIT_WEIGHTS
        self.load_file(view, path)
        if self.cfg.TEST.ONLY:
            self._tell_learner()
        else:
            self._require_rows_of_own_classes(path)
        self.initial_hash = sha256_of(path)
        print(f"Loaded the initial weights from {path}")

    def _require_rows_of_own_classes(self, path: str) -> None:
        """Raise UserError if a joint head to be trained further has rows of other classes; warn if they are unknown."""
        assert self.loaded is not None
        head, trained = self.model.prompt_learner.joint_head, self.loaded.trained_on
        if head is None or not head.has_rows or trained == self.model.classes.names:
            return
        if trained:
            raise UserError(
                f"MODEL.INIT_WEIGHTS {path} cannot be trained further, because its joint head was trained on classes "
                "that differ from the classes of this run. Use a checkpoint that was trained on the same classes."
            )
        warnings.warn(
            f"MODEL.INIT_WEIGHTS {path} does not record the classes of its joint head. Check that the classes and "
            "their order are those of this run.",
            stacklevel=2,
        )

    def _tell_learner(self) -> None:
        """Tell the model that is tested on which classes it was trained."""
        assert self.loaded is not None
        self.model.prompt_learner.learned_on(trained_classes(self.loaded))
        stated, sentences = self.loaded.record.get("method", {}), self.model.prompt_learner.stands_on().get(SENTENCES)
        same_data = self.loaded.record.get("classes", {}).get("dataset") == self.cfg.DATASET.NAME
        if same_data and sentences and stated.get(SENTENCES, sentences) != sentences:
            print("note: this test uses different class descriptions than the training run.")
        said = self.model.said_of(self.model.classes.names)
        if said:
            print(f"note: {said}")
            self.trainer.building.notes = [*self.trainer.building.notes, said]

    def load_file(self, view: Any, path: str) -> int:
        """Load a checkpoint into a CheckpointView; the number of its epochs."""
        loaded, names = load_learner(view, path, self.made_with()), self.trainer.dm.dataset.classnames
        classes = count_classes(loaded.state_dict)
        if classes:
            print(
                f"The class tokens of the {classes} classes in {path} are ignored. The prompts use the {len(names)} "
                "class names of this run."
            )
        if view.learner.bound:
            require_own_classes(loaded, names, path)
        self.loaded = loaded
        return loaded.epoch

    def chosen_by_loaded(self) -> dict[str, Any]:
        """What the run that made the loaded model recorded of its choices, if its checkpoint has it."""
        said = self.loaded.record.get("run", {}) if self.loaded is not None else {}
        return {key: said[key] for key in CHOICE if key in said}

    def chosen(self) -> dict[str, Any]:
        """The entries of a result for what this run chose, besides its best epoch."""
        return {}


class NoCheckpoints(Checkpoints):
    """Checkpoints of a method that trains nothing: there is nothing to save or load."""

    def method_record(self) -> dict[str, Any]:
        """A file's record of the method."""
        return method_record(self.method)

    def load(self, directory: str | None, *more: Any, epoch: int | None = None, **kwargs: Any) -> None:
        """Nothing."""

    def load_for_test(self) -> None:
        """Nothing."""
