"""A training run that can be killed at any time: it goes on exactly, and never with other settings.

Takes the place of the Dassl hooks around the epochs, so that it is the same with every Dassl.
"""

import datetime
import math
import os
import time
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional

from modprompt.errors import UserError
from modprompt.runs import holding, steps
from modprompt.runs.checkpoint import read
from modprompt.runs.checkpoint_files import BEST
from modprompt.runs.holding import BEGAN_FROM
from modprompt.runs.result import runs_on_gpu
from modprompt.storage.forms import Form, anything, number, table, text
from modprompt.storage.parts import copy_whole
from modprompt.storage.text import is_text
from modprompt.trainers import training_state
from modprompt.trainers.run_folder import forget_kept, has_checkpoint, newest_state

if TYPE_CHECKING:  # it stands in front of one
    from modprompt.trainers.clip_trainer import CLIPTrainer as _Trainer
else:
    _Trainer = object

TRAINING_S = "training_s"  # in the state of a run


class ResumableRun(_Trainer):
    """The part of a trainer that starts, saves, resumes and ends a run; it stands in front of TrainerX."""

    steps_table: Optional[steps.Table]  # which Epochs writes
    _gone_on_from = ""  # the folder of the run that is resumed
    began_from = ""  # the checkpoint that a training began from, with a new optimiser; see holding.resumed_from
    training_s: Optional[float] = None  # what all epochs took, of earlier starts too; None where nobody knows
    _began_s = 0.0
    keeps_state = False  # whether the state outlives the run, for who goes on from its generators and removes it then

    @property
    def last_of_equals(self) -> bool:
        """Whether of epochs that are equally good the last is the best; else the first."""
        return False

    @property
    def best_on(self) -> str:
        """The images whose best epoch is tested; empty for the last epoch."""
        return "val" if self.cfg.TEST.FINAL_MODEL == "best_val" else ""

    def resume_settings(self) -> Dict[str, str]:
        """What must be the same for a run to be gone on with, as {name: text}."""
        return training_state.settings_of(self.cfg)

    def extra_state(self) -> Dict[str, Any]:
        """What else the trainer must remember between epochs: tensors and plain values."""
        return {}

    def extras_form(self, epoch: int) -> Form:
        """What `load_extra_state` can take behind so many epochs; looked at before anything of the run is changed."""
        return anything

    def state_as_now(self, states: Mapping[str, Any]) -> Mapping[str, Any]:
        """A state, of which nothing but its head was looked at, with what an earlier version kept elsewhere moved."""
        return states

    def load_extra_state(self, extras: Mapping[str, Any]) -> None:
        """Take back what extra_state gave."""

    def before_train(self) -> None:
        """Resume, and start the clock."""
        if self.cfg.TEST.FINAL_MODEL == "best_val" and self.val_loader is None:
            raise UserError(f"TEST.FINAL_MODEL best_val: {self.cfg.DATASET.NAME} has no validation images to choose by")
        self.start_epoch = self._resume()
        if self.cfg.OUTPUT_DIR and self._gone_on_from != self.cfg.OUTPUT_DIR:
            forget_kept(self.cfg.OUTPUT_DIR)
        self._begin_steps()
        if hasattr(self, "init_writer") and self.output_dir:  # not every Dassl has TensorBoard
            self._begin_tensorboard(os.path.join(self.output_dir, "tensorboard"))
        self.time_start = time.time()
        if self.start_epoch == 0:
            self.training_s = 0.0
        self._began_s = time.perf_counter()

    def _begin_tensorboard(self, folder: str) -> None:
        if is_text(folder):
            self.init_writer(folder)
        else:
            print("No TensorBoard files: it writes to no folder whose name is no UTF-8 text")

    def _begin_steps(self) -> None:
        """Have the table of steps go on where the run does; that of a finished run, tested again, stays as it is."""
        own = self.cfg.OUTPUT_DIR
        if own and (self.start_epoch < self.max_epoch or self._gone_on_from != own):
            self.steps_table, note = steps.begin(own, self.start_epoch, self._gone_on_from)
            if note:
                print(note)

    def _resume(self) -> int:
        """Number of epochs that are done.

        In this order: the state of an unfinished run in OUTPUT_DIR, or in RESUME; a finished run in OUTPUT_DIR, which
        is only tested again; checkpoints in RESUME. Checkpoints of a run that was killed before its first state was
        written are no ground to go on from exactly, so it begins anew.
        """
        own, other = self.cfg.OUTPUT_DIR, self.cfg.RESUME
        for directory in (own, other):
            if directory and training_state.exists(directory):
                return self._resume_state(directory)
        if has_checkpoint(own, self._models):
            if self._finished(own):
                self._require_best(own)
                return self._resume_model(own)
            if not other:
                print(
                    f"{own} has checkpoints of an unfinished training and no state to go on from exactly: "
                    "it begins anew and writes over them (--resume goes on from the last of them)"
                )
        if not other:
            return 0
        if not has_checkpoint(other, self._models):
            raise UserError(f"RESUME: there is no run to go on from in {other}")
        self.began_from = holding.resumed_from(other)
        epoch = self._resume_model(other)
        if epoch >= self.max_epoch:
            self._require_best(other)
            self._take_over_best(other)
        return epoch

    def _resume_model(self, directory: str) -> int:
        self._gone_on_from = directory
        epoch: int = self.resume_model_if_exist(directory)
        return epoch

    def _resume_state(self, directory: str) -> int:
        epoch, self.best_result, extras = training_state.load(
            directory,
            self.resume_settings(),
            self._models,
            self._optims,
            self._scheds,
            self._all_extras_form,
            self.max_epoch,
            self.state_as_now,
        )
        self._require_begun_alike(directory, extras.get(BEGAN_FROM))
        self._require_best(directory, epoch)
        self.load_extra_state(extras)
        self.training_s = extras.get(TRAINING_S)  # an earlier version did not count
        self._gone_on_from = directory
        print(f"Found the state of an unfinished run in {directory}: resuming after epoch {epoch}")
        if directory != self.cfg.OUTPUT_DIR:
            self._take_over_best(directory)
        return epoch

    def _all_extras_form(self, epoch: int) -> Form:
        of_trainer, of_run = self.extras_form(epoch), table({}, {TRAINING_S: number(0), BEGAN_FROM: text(1000)})

        def form(value: Any, where: str) -> None:
            of_trainer(value, where)
            of_run(value, where)

        return form

    def _require_begun_alike(self, directory: str, began_from: Optional[str]) -> None:
        """Take over what the training in a folder began from; raise UserError if this one would begin otherwise."""
        differing = holding.differing_beginning({} if began_from is None else {BEGAN_FROM: began_from}, self.cfg.RESUME)
        if directory == self.cfg.OUTPUT_DIR and differing and began_from:
            raise UserError(f"{directory} holds a run that began otherwise ({differing[0]}): use another --output-dir")
        self.began_from = began_from or ""

    def _require_best(self, directory: str, epoch: Optional[int] = None) -> None:
        """Raise UserError if the best epoch so far, which is to be tested, has no file any more.

        Args:
            directory: the folder of the run.
            epoch: the epochs of its state, whose best result is `best_result`; None for a finished run.
        """
        if not self.best_on or self.cfg.TEST.NO_TEST or (epoch is not None and self.best_result == -math.inf):
            return
        for name in self._models:
            path = os.path.join(directory, name, BEST)
            found = read(path) if os.path.isfile(path) else None
            is_best = found is not None and (
                epoch is None or found.val_result == self.best_result or found.epoch > epoch
            )
            if not is_best:
                what = "there is no" if found is None else "it has another epoch in"
                raise UserError(
                    f"TEST.FINAL_MODEL best_val: {what} {path}, the best epoch so far: put it back, give "
                    "TEST.FINAL_MODEL last_step another --output-dir, or delete that folder to start anew"
                )

    def _take_over_best(self, directory: str) -> None:
        for name in self._models:
            best = os.path.join(directory, name, BEST)
            if os.path.isfile(best):
                copy_whole(best, os.path.join(self.cfg.OUTPUT_DIR, name, os.path.basename(best)))

    def _finished(self, directory: str) -> bool:
        """Whether a folder holds a finished training; one with other settings is an error."""
        for name in self._models:
            checkpoint = newest_state(os.path.join(directory, name))
            if checkpoint.settings:
                training_state.require_same(self.resume_settings(), checkpoint.settings, directory)
            if checkpoint.epoch < self.max_epoch:
                return False
            self._require_begun_alike(directory, checkpoint.record.get("run", {}).get(BEGAN_FROM))
        print(f"{directory} is trained already ({self.max_epoch} epochs): nothing to train, testing again")
        return True

    def after_epoch(self) -> None:
        """Validate if asked for, save if it is time to, and leave the state to go on from."""
        finished = self.epoch + 1
        if not self.cfg.TEST.NO_TEST and self.best_on:
            result = self.test(split=self.best_on)
            if result > self.best_result or (self.last_of_equals and result == self.best_result):
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=BEST)
        self._count_time()
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        if finished == self.max_epoch or (frequency > 0 and finished % frequency == 0):
            self.save_model(self.epoch, self.output_dir)
        training_state.save(
            self.output_dir,
            self.resume_settings(),
            finished,
            self._models,
            self._optims,
            self._scheds,
            self.best_result,
            {**self.extra_state(), **self._of_run()},
        )

    def _of_run(self) -> Dict[str, Any]:
        shared = (runs_on_gpu() or 1) > 1  # whoever goes on alone has no seconds to be compared, either
        seconds = {} if self.training_s is None or shared else {TRAINING_S: self.training_s}
        return {**seconds, BEGAN_FROM: self.began_from}

    def deploy(self) -> None:
        """Have the model that is tested: the last, or the best on the validation set."""
        if self.best_on:
            print(f"Deploy the model with the best {self.best_on} performance")
            self.load_model(self.output_dir)
        else:
            print("Deploy the last-epoch model")

    def _count_time(self) -> None:
        now_s = time.perf_counter()
        if self.training_s is not None:
            self.training_s += now_s - self._began_s
        self._began_s = now_s

    def after_train(self) -> None:
        """Test the last model, or the best on the validation set."""
        print(
            "Finish training\nFinished training"
        )  # CoOp's log parser waits for the first line, MaPLe's for the second
        if not self.cfg.TEST.NO_TEST:
            self.deploy()
            self.test()
        if not self.keeps_state:
            training_state.remove(self.output_dir)
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.time_start))}")
