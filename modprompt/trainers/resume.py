"""A training run that can be killed at any time: it resumes exactly, and never with other settings.

Dassl's work around epochs is done here, so that it is the same with every Dassl.
"""

import datetime
import functools
import math
import os
import time
from typing import Any

from modprompt.data.reader_facts import images_hash_of, is_few_shot, reader_facts
from modprompt.data.selection import selected_on
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io import run_files
from modprompt.io.checkpoint import BEST, read
from modprompt.io.files import copy_whole
from modprompt.io.images import images_hash
from modprompt.io.result import CHANGED_DURING, IMAGES_CHANGED, TEST, runs_on_gpu
from modprompt.io.same_run import BEGAN_FROM, CLIP, of_sources
from modprompt.io.text import is_text
from modprompt.methods.records import content_hashes, sources_of
from modprompt.trainers import training_state
from modprompt.trainers.part import Part
from modprompt.trainers.run_folder import forget_kept, has_checkpoint, newest_state
from modprompt.trainers.training_images import STATE as IMAGES_STATE
from modprompt.trainers.training_images import TrainingImages

TRAINING_S = "training_s"  # in the state of a run


class Resume(Part):
    """Starts, saves, resumes and ends a training.

    Attributes:
        began_from: the checkpoint that the training began from, with a new optimiser; see run_folder.resumed_from.
        training_s: seconds of all epochs, earlier starts included; None if they are not known.
        began_s: since when seconds are not yet counted.
        images: the files of the training images, once the training has begun.
        keeps_state: whether the state stays after the run, for code that goes on from its generators and removes it.
    """

    began_from = ""
    training_s: float | None = None
    images: TrainingImages | None = None
    keeps_state = False
    _gone_on_from = ""  # the folder of the run that is resumed
    began_s = 0.0

    @property
    def best_on(self) -> str:
        """The images whose best epoch is tested; empty for the last epoch."""
        return "val" if self.cfg.TEST.FINAL_MODEL == "best_val" else ""

    @property
    def images_changed(self) -> bool:
        """Whether training images changed while the run trained."""
        return self.images is not None and self.images.changed

    @property
    def last_of_equals(self) -> bool:
        """Whether the last of equally good epochs is the best; else the first."""
        return self.method.training.later_of_equals

    @property
    def text_chunk(self) -> int | None:
        """How many of the classes' own tokens are computed at a time, which changes rounding; None if all are.

        Without MODEL.TEXT_CHUNK free memory decides, at each start.
        """
        model, batches = self.model, self.cfg.DATALOADER
        # where prompts depend on the image, each image of a batch has its own
        each = model.prompt_learner.needs_image
        images = max(batches.TRAIN_X.BATCH_SIZE, batches.TEST.BATCH_SIZE) if each else 1
        most, tokens = model.text_encoder.most_tokens, model.own_tokens * images
        return None if most is None or most >= tokens else most

    def settings(self) -> dict[str, str]:
        """What must be the same to resume a run: settings, what they name, CLIP, training images, custom source."""
        return {
            **training_state.of_trainer(training_state.settings_of(self.cfg), self.run.node_name),
            CLIP: self.run.fingerprint,
            **self.run.tokenizer,
            **self._unrounded(),
            training_state.TRAINING_IMAGES: self.images_fingerprint,
            **content_hashes(self.method),
            **of_sources(sources_of(self.method)),
            **self.model.prompt_learner.stands_on(),
            **self._chosen_by(),
        }

    def _unrounded(self) -> dict[str, str]:
        """That weights which half precision cannot hold are not rounded."""
        if self.run.precision.half_weights or self.run.keeps_in_half:
            return {}
        return {"the precision of CLIP's weights": "float32"}

    def _chosen_by(self) -> dict[str, str]:
        """The images by which anything besides the training chooses or learns, unless they are the test images."""
        dataset = self.trainer.dm.dataset
        kind = selected_on(dataset, self.cfg)
        if kind in ("", TEST) or not (self.best_on or self.trainer.search):
            return {}
        return {training_state.CHOSEN_BY: f"{kind} {images_hash(dataset.val, root=reader_facts(dataset).image_root)}"}

    @functools.cached_property
    def images_fingerprint(self) -> str:
        """A hash that tells one list of training images from another, in whatever folder they are."""
        return images_hash_of(self.trainer.dm.dataset, self.cfg, "train_x")

    def extra_state(self) -> dict[str, Any]:
        """The loss scale, the average over epochs, and a search's."""
        scaler = {} if self.trainer.scaler is None else {"scaler": self.trainer.scaler.state_dict()}
        average = {} if self.model.average is None else {"average": self.model.average.state_dict()}
        search = {} if self.trainer.search is None else self.trainer.search.state()
        return {**scaler, **average, **search}

    def load_extra_state(self, extras: Any) -> None:
        """Restore what extra_state gave."""
        if self.trainer.scaler is not None and "scaler" in extras:
            self.trainer.scaler.load_state_dict(extras["scaler"])
        if self.model.average is not None and "average" in extras:
            self.model.average.load_state_dict(extras["average"])
        if self.trainer.search is not None:
            self.trainer.search.load_state(extras)

    def begin(self) -> None:
        """Resume, and start the clock."""
        if not self.cfg.OUTPUT_DIR:
            raise UserError(
                "OUTPUT_DIR is not set, but a training run needs a folder for its checkpoints. Set OUTPUT_DIR "
                "(--output-dir)."
            )
        if self.cfg.TEST.FINAL_MODEL == "best_val" and self.trainer.val_loader is None:
            raise UserError(
                f"TEST.FINAL_MODEL best_val is not possible because the data set {self.cfg.DATASET.NAME} has no "
                "validation images. Set TEST.FINAL_MODEL to last_step."
            )
        dataset = self.trainer.dm.dataset
        self.images = TrainingImages(dataset.train_x, reader_facts(dataset).image_root)
        self.trainer.start_epoch = self._resume()
        if is_few_shot(self.cfg) and self.trainer.start_epoch < self.trainer.max_epoch:
            self.images.read_contents()  # of few images, so that a change in the first epoch is noticed by content
        if self.cfg.OUTPUT_DIR and self._gone_on_from != self.cfg.OUTPUT_DIR:
            forget_kept(self.cfg.OUTPUT_DIR)
        self._begin_steps()
        if hasattr(self.trainer, "init_writer") and self.trainer.output_dir:  # not every Dassl has TensorBoard
            self._begin_tensorboard(os.path.join(self.trainer.output_dir, "tensorboard"))
        self.trainer.time_start = time.time()
        if self.trainer.start_epoch == 0:
            self.training_s = 0.0
        self.began_s = time.perf_counter()
        self._require_average(self.trainer.start_epoch)

    def _require_average(self, epochs: int) -> None:
        """Raise UserError if earlier epochs are not in the average, because a run was resumed without its state."""
        average = self.model.average
        if epochs < self.trainer.max_epoch and average is not None and average.epochs != epochs:
            raise UserError(
                "Cannot resume: a checkpoint does not store the average over epochs (GPA), so "
                f"{'epoch 1' if epochs == 1 else f'epochs 1 to {epochs}'} would be missing from the average. Start "
                "again with a different --output-dir, or set GPA_STD to 0."
            )

    def _begin_tensorboard(self, folder: str) -> None:
        if is_text(folder):
            self.trainer.init_writer(folder)
        else:
            print("note: no TensorBoard files are written because the path of the output folder is not valid UTF-8.")

    def _begin_steps(self) -> None:
        """Continue the table of steps where the run resumes; that of a finished run, tested again, stays."""
        own = self.cfg.OUTPUT_DIR
        if own and (self.trainer.start_epoch < self.trainer.max_epoch or self._gone_on_from != own):
            self.trainer.table, note = run_files.begin_steps(own, self.trainer.start_epoch, self._gone_on_from)
            if note:
                print(note)

    def _resume(self) -> int:
        """Resume what there is; the number of finished epochs.

        In this order: the state of an unfinished run in OUTPUT_DIR, or in RESUME; a finished run in OUTPUT_DIR, which
        is only tested again; checkpoints in RESUME. A run that was killed before it wrote its first state cannot be
        resumed exactly from its checkpoints, so it begins anew.
        """
        own, other = self.cfg.OUTPUT_DIR, self.cfg.RESUME
        for directory in (own, other):
            if directory and training_state.exists(directory):
                return self._resume_state(directory)
        if has_checkpoint(own, self.trainer._models):
            if self._finished(own):
                self._require_best(own)
                return self._resume_model(own)
            if not other:
                print(
                    f"{own} contains checkpoints of an unfinished training run, but no training state from which the "
                    "run can be resumed exactly. The training starts from the beginning and overwrites these "
                    "checkpoints. To continue from the last checkpoint instead, use --resume."
                )
        if not other:
            return 0
        if not has_checkpoint(other, self.trainer._models):
            raise UserError(
                f"The folder {other}, to which RESUME is set, contains no run to resume. Set --resume to the output "
                "folder of a training run."
            )
        self.began_from = run_folder.resumed_from(other)
        epoch = self._resume_model(other)
        if epoch >= self.trainer.max_epoch:
            self._require_best(other)
            self._take_over_best(other)
        return epoch

    def _resume_model(self, directory: str) -> int:
        self._gone_on_from = directory
        epoch: int = self.trainer.resume_model_if_exist(directory)
        assert self.images is not None
        for name in self.trainer._models if epoch else ():
            record = newest_state(os.path.join(directory, name)).record
            self.images.changed |= IMAGES_CHANGED in record.get("run", {})
        return epoch

    def _resume_state(self, directory: str) -> int:
        epoch, self.trainer.best_result, extras = training_state.load(
            directory,
            self.settings(),
            self.trainer._models,
            self.trainer._optims,
            self.trainer._scheds,
        )
        self._require_begun_alike(directory, extras.get(BEGAN_FROM))
        self._require_best(directory, epoch)
        with training_state.damage_told(directory):
            self.load_extra_state(extras)
            assert self.images is not None
            if IMAGES_STATE in extras:
                self.images.resume(extras[IMAGES_STATE], directory)
            elif not is_few_shot(self.cfg):
                print(
                    f"note: the training state in {directory} was written by an earlier version of modprompt and does "
                    "not record the contents of the training images, so only the names and sizes of the images were "
                    "compared."
                )
        self.training_s = extras.get(TRAINING_S)
        self._gone_on_from = directory
        print(f"Resuming after epoch {epoch} from the unfinished run in {directory}")
        if directory != self.cfg.OUTPUT_DIR:
            self._take_over_best(directory)
        return epoch

    def _require_begun_alike(self, directory: str, began_from: str | None) -> None:
        """Note what the training in a folder began from; raise UserError if this one would begin otherwise."""
        differing = run_folder.differing_beginning(
            {} if began_from is None else {BEGAN_FROM: began_from}, self.cfg.RESUME
        )
        if directory == self.cfg.OUTPUT_DIR and differing and began_from:
            raise UserError(f"Cannot resume the run in {directory}: {differing[0]}. Use a different --output-dir.")
        self.began_from = began_from or ""

    def _require_best(self, directory: str, epoch: int | None = None) -> None:
        """Raise UserError if the file of the best epoch so far, which is to be tested, is gone.

        Args:
            directory: the folder of the run.
            epoch: the finished epochs of its state, whose best result is `best_result`; None for a finished run.
        """
        if not self.best_on or self.cfg.TEST.NO_TEST or (epoch is not None and self.trainer.best_result == -math.inf):
            return
        for name in self.trainer._models:
            path = os.path.join(directory, name, BEST)
            found = read(path) if os.path.isfile(path) else None
            is_best = found is not None and (
                epoch is None or found.val_result == self.trainer.best_result or found.epoch > epoch
            )
            if not is_best:
                fault = "is missing" if found is None else "belongs to another epoch"
                raise UserError(
                    f"Cannot resume: the best checkpoint so far, {path}, {fault}. The checkpoint is needed, because "
                    "TEST.FINAL_MODEL is best_val. Restore the file, or use a different "
                    f"--output-dir{run_folder.or_delete(directory)}."
                )

    def _take_over_best(self, directory: str) -> None:
        for name in self.trainer._models:
            best = os.path.join(directory, name, BEST)
            if os.path.isfile(best):
                copy_whole(best, os.path.join(self.cfg.OUTPUT_DIR, name, os.path.basename(best)))

    def _finished(self, directory: str) -> bool:
        """Whether a folder holds a finished training; one with other settings raises UserError."""
        for name in self.trainer._models:
            checkpoint = newest_state(os.path.join(directory, name))
            if checkpoint.settings:
                training_state.require_same(self.settings(), checkpoint.settings, directory)
            if checkpoint.epoch < self.trainer.max_epoch:
                return False
            self._require_begun_alike(directory, checkpoint.record.get("run", {}).get(BEGAN_FROM))
        epochs = self.trainer.max_epoch
        print(
            f"The training in {directory} is already finished ({epochs} epoch{'' if epochs == 1 else 's'}). Only the "
            "test is repeated."
        )
        return True

    def end_epoch(self) -> None:
        """Validate if asked, save a checkpoint if it is time to, and save the state to resume from."""
        finished = self.trainer.epoch + 1
        assert self.images is not None
        if finished == self.trainer.max_epoch:
            self.images.compare()
        if not self.cfg.TEST.NO_TEST and self.best_on:
            result = self.trainer.test(split=self.best_on)
            if result > self.trainer.best_result or (self.last_of_equals and result == self.trainer.best_result):
                self.trainer.best_result = result
                self.trainer.save_model(self.trainer.epoch, self.trainer.output_dir, val_result=result, model_name=BEST)
        self._count_time()
        self.images.read_contents()
        self.began_s = time.perf_counter()  # reading the images for the first time is no training
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        if finished == self.trainer.max_epoch or (frequency > 0 and finished % frequency == 0):
            self.trainer.save_model(self.trainer.epoch, self.trainer.output_dir)
        training_state.save(
            self.trainer.output_dir,
            self.settings(),
            finished,
            self.trainer._models,
            self.trainer._optims,
            self.trainer._scheds,
            self.trainer.best_result,
            {**self.extra_state(), **self._of_run(), IMAGES_STATE: self.images.state()},
        )

    def _of_run(self) -> dict[str, Any]:
        shared = (runs_on_gpu() or 1) > 1  # seconds of a shared GPU are not comparable, even if it resumes alone
        seconds = {} if self.training_s is None or shared else {TRAINING_S: self.training_s}
        return {**seconds, BEGAN_FROM: self.began_from}

    def deploy(self) -> None:
        """Load the model to test: the last, or the best on the validation set."""
        if self.best_on:
            print(f"Deploy the model with the best {self.best_on} performance")
            self.trainer.load_model(self.trainer.output_dir)
        else:
            print("Deploy the last-epoch model")

    def _count_time(self) -> None:
        now_s = time.perf_counter()
        if self.training_s is not None:
            self.training_s += now_s - self.began_s
        self.began_s = now_s

    def end(self) -> None:
        """Test the last model, or the best on the validation set."""
        print(
            "Finish training\nFinished training"
        )  # CoOp's log parser waits for the first line, MaPLe's for the second
        if not self.cfg.TEST.NO_TEST:
            self.deploy()
            self.trainer.test()
        if self.images_changed:
            print(
                f"Warning: {CHANGED_DURING}, so the results cannot be reproduced. The result is marked as not "
                "reproducible, and neither --once nor an experiment accepts it. Train again with a different "
                f"--output-dir{run_folder.or_delete(self.cfg.OUTPUT_DIR)}."
            )
        if not self.keeps_state:
            training_state.remove(self.trainer.output_dir)
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.trainer.time_start))}")
