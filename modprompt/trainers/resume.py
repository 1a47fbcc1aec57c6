"""A training run that can be killed at any time: it resumes exactly, and never with other settings.

Dassl's work around the epochs is done here, so that it is the same with every version of Dassl.
"""

import datetime
import math
import os
import time
import warnings
from typing import Any

from modprompt.data.reader_facts import is_few_shot, reader_facts
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io import run_files
from modprompt.io.checkpoint import BEST, read
from modprompt.io.files import copy_whole
from modprompt.io.identity import BEGAN_FROM, differing_beginning
from modprompt.io.result import CHANGED_DURING, IMAGES_CHANGED, runs_on_gpu
from modprompt.io.text import is_text
from modprompt.trainers import building, training_state
from modprompt.trainers.run_facts import facts_of_run, require_same
from modprompt.trainers.run_folder import forget_kept, has_checkpoint, newest_state
from modprompt.trainers.training_images import STATE as IMAGES_STATE
from modprompt.trainers.training_images import TrainingImages

TRAINING_S = "training_s"  # key in the state of a run


# ---- the beginning of a training


def begin(trainer: Any) -> None:
    """Resume an interrupted run if possible, open the file steps.csv, and start the clock.

    Raises:
        UserError: if the run has no output folder, needs validation images that are missing, or cannot be resumed.
    """
    cfg, dataset = trainer.cfg, trainer.dm.dataset
    if not cfg.OUTPUT_DIR:
        raise UserError(
            "OUTPUT_DIR is not set, but a training run needs a folder for its checkpoints. Set OUTPUT_DIR "
            "(--output-dir)."
        )
    if cfg.TEST.FINAL_MODEL == "best_val" and trainer.val_loader is None:
        raise UserError(
            f"TEST.FINAL_MODEL best_val is not possible because the data set {cfg.DATASET.NAME} has no "
            "validation images. Set TEST.FINAL_MODEL to last_step."
        )
    trainer.training_images = TrainingImages(dataset.train_x, reader_facts(dataset).image_root)
    trainer.start_epoch = _resume(trainer)
    unfinished = trainer.start_epoch < trainer.max_epoch
    if is_few_shot(cfg) and unfinished:
        trainer.training_images.read_contents()  # of few images, so that a change in the first epoch is noticed
    if trainer.resumed_folder != cfg.OUTPUT_DIR:
        forget_kept(cfg.OUTPUT_DIR)
    if unfinished or trainer.resumed_folder != cfg.OUTPUT_DIR:  # the table of a finished run stays
        trainer.table, note = run_files.begin_steps(cfg.OUTPUT_DIR, trainer.start_epoch, trainer.resumed_folder)
        print(note, end="\n" if note else "")
    if hasattr(trainer, "init_writer") and trainer.output_dir:  # not every Dassl has TensorBoard
        _begin_tensorboard(trainer, os.path.join(trainer.output_dir, "tensorboard"))
    trainer.time_start = time.time()
    if trainer.start_epoch == 0:
        trainer.training_s = 0.0
    trainer.began_s = time.perf_counter()
    _require_average(trainer)


def _require_average(trainer: Any) -> None:
    """Raise UserError if the average of the parameters over epochs (GPA) would lack epochs before a resumption."""
    average, epochs = trainer.model.average, trainer.start_epoch
    if epochs < trainer.max_epoch and average is not None and average.epochs != epochs:
        raise UserError(
            "Cannot resume: a checkpoint does not store the average over epochs (GPA), so "
            f"{'epoch 1' if epochs == 1 else f'epochs 1 to {epochs}'} would be missing from the average. Start "
            "again with a different --output-dir, or set GPA_STD to 0."
        )


def _begin_tensorboard(trainer: Any, folder: str) -> None:
    """Create the TensorBoard writer, if TensorBoard can write to the folder."""
    if is_text(folder):
        trainer.init_writer(folder)
    else:
        print("note: no TensorBoard files are written because the path of the output folder is not valid UTF-8.")


def _resume(trainer: Any) -> int:
    """Resume an interrupted run if possible; return the number of finished epochs.

    The order is: the state of an unfinished run in OUTPUT_DIR, or in RESUME; a finished run in OUTPUT_DIR, which is
    only tested again; checkpoints in RESUME. A run that was killed before it wrote its first state cannot be resumed
    exactly from its checkpoints, so it starts from the beginning.
    """
    own, other = trainer.cfg.OUTPUT_DIR, trainer.cfg.RESUME
    for directory in (own, other):
        if directory and training_state.exists(directory):
            epochs: int = trainer.resume_state(directory)
            return epochs
    if has_checkpoint(own, trainer._models):
        if _is_finished(trainer, own):
            _require_best(trainer, own)
            epochs = trainer.resume_checkpoint(own)
            return epochs
        if not other:
            print(
                f"{own} contains checkpoints of an unfinished training run, but no training state from which the "
                "run can be resumed exactly. The training starts from the beginning and overwrites these "
                "checkpoints. To continue from the last checkpoint instead, use --resume."
            )
    if not other:
        return 0
    if not has_checkpoint(other, trainer._models):
        raise UserError(
            f"The folder {other}, to which RESUME is set, contains no run to resume. Set --resume to the output "
            "folder of a training run."
        )
    trainer.began_from = run_folder.resumed_from(other)
    epochs = trainer.resume_checkpoint(other)
    if epochs >= trainer.max_epoch:
        _require_best(trainer, other)
        _copy_best(trainer, other)
    return epochs


def load_checkpoint(trainer: Any, directory: str) -> int:
    """Load the newest checkpoint of a run's folder; return the number of finished epochs."""
    trainer.resumed_folder = directory
    epoch: int = trainer.resume_model_if_exist(directory)
    for name in trainer._models if epoch else ():
        record = newest_state(os.path.join(directory, name)).record
        trainer.training_images.changed |= IMAGES_CHANGED in record.get("run", {})
    return epoch


def load_state(trainer: Any, directory: str) -> int:
    """Load the state of an unfinished run; return the number of finished epochs.

    Raises:
        UserError: if the state is damaged, or belongs to a run with other settings.
    """
    epoch, trainer.best_result, extras = training_state.load(
        directory, facts_of_run(trainer), trainer._models, trainer._optims, trainer._scheds
    )
    _require_same_beginning(trainer, directory, extras.get(BEGAN_FROM))
    _require_best(trainer, directory, epoch)
    with training_state.damage_told(directory):
        trainer.load_extra_state(extras)
        if IMAGES_STATE in extras:
            trainer.training_images.resume(extras[IMAGES_STATE], directory)
        elif not is_few_shot(trainer.cfg):
            print(
                f"note: the training state in {directory} was written by an earlier version of modprompt and does "
                "not record the contents of the training images, so only the names and sizes of the images were "
                "compared."
            )
    trainer.training_s = extras.get(TRAINING_S)
    trainer.resumed_folder = directory
    print(f"Resuming after epoch {epoch} from the unfinished run in {directory}")
    if directory != trainer.cfg.OUTPUT_DIR:
        _copy_best(trainer, directory)
    return epoch


def _require_same_beginning(trainer: Any, directory: str, began_from: str | None) -> None:
    """Check that the training in a folder began from the checkpoint that --resume names, and record this checkpoint."""
    resume = trainer.cfg.RESUME
    differing = differing_beginning(began_from, run_folder.resumed_from(resume), resume)
    if directory == trainer.cfg.OUTPUT_DIR and differing and began_from:
        raise UserError(f"Cannot resume the run in {directory}: {differing[0]}. Use a different --output-dir.")
    trainer.began_from = began_from or ""


def _require_best(trainer: Any, directory: str, epoch: int | None = None) -> None:
    """Raise UserError if the checkpoint of the best epoch is missing although the final test needs it.

    Args:
        trainer: the trainer; its `best_result` is the result of the best epoch.
        directory: the folder of the run.
        epoch: the finished epochs of an unfinished run, or None for a finished run.
    """
    no_best = epoch is not None and trainer.best_result == -math.inf
    if not trainer.best_on or trainer.cfg.TEST.NO_TEST or no_best:
        return
    for name in trainer._models:
        path = os.path.join(directory, name, BEST)
        found = read(path) if os.path.isfile(path) else None
        is_best = found is not None and (
            epoch is None or found.val_result == trainer.best_result or found.epoch > epoch
        )
        if not is_best:
            fault = "is missing" if found is None else "belongs to another epoch"
            raise UserError(
                f"Cannot resume: the best checkpoint so far, {path}, {fault}. The checkpoint is needed, because "
                "TEST.FINAL_MODEL is best_val. Restore the file, or use a different "
                f"--output-dir{run_folder.or_delete(directory)}."
            )


def _copy_best(trainer: Any, directory: str) -> None:
    """Copy the best checkpoints of the folder RESUME into the folder of this run."""
    for name in trainer._models:
        best = os.path.join(directory, name, BEST)
        if os.path.isfile(best):
            copy_whole(best, os.path.join(trainer.cfg.OUTPUT_DIR, name, os.path.basename(best)))


def _is_finished(trainer: Any, directory: str) -> bool:
    """Return True if a folder contains a finished training run; raise UserError if the training had other settings."""
    for name in trainer._models:
        checkpoint = newest_state(os.path.join(directory, name))
        if checkpoint.settings:
            require_same(facts_of_run(trainer), checkpoint.settings, directory)
        if checkpoint.epoch < trainer.max_epoch:
            return False
        _require_same_beginning(trainer, directory, checkpoint.record.get("run", {}).get(BEGAN_FROM))
    epochs = trainer.max_epoch
    print(
        f"The training in {directory} is already finished ({epochs} epoch{'' if epochs == 1 else 's'}). Only the "
        "test is repeated."
    )
    return True


def skip_epochs(trainer: Any, name: str, epochs: int) -> None:
    """Advance the learning-rate scheduler of a model by a number of epochs."""
    steps = building.steps_before(trainer, epochs) if trainer.each_step else epochs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns that no step was made yet
        for _ in range(steps if trainer._scheds[name] is not None else 0):
            trainer._scheds[name].step()


# ---- the end of an epoch and of the training


def end_epoch(trainer: Any) -> None:
    """Finish an epoch: validate, save a checkpoint if one is due, and save the training state."""
    cfg, images, finished = trainer.cfg, trainer.training_images, trainer.epoch + 1

    # validate, and save the best epoch so far
    if finished == trainer.max_epoch:
        images.compare()
    if not cfg.TEST.NO_TEST and trainer.best_on:
        result = trainer.test(split=trainer.best_on)
        later_of_equals = trainer.method.training.later_of_equals
        if result > trainer.best_result or (later_of_equals and result == trainer.best_result):
            trainer.best_result = result
            trainer.save_model(trainer.epoch, trainer.output_dir, val_result=result, model_name=BEST)

    # count the time; reading the training images for the first time is no training
    _count_time(trainer)
    images.read_contents()
    trainer.began_s = time.perf_counter()

    # save the checkpoint and the state
    frequency = cfg.TRAIN.CHECKPOINT_FREQ
    if finished == trainer.max_epoch or (frequency > 0 and finished % frequency == 0):
        trainer.save_model(trainer.epoch, trainer.output_dir)
    shared = (runs_on_gpu() or 1) > 1  # seconds on a shared GPU are not comparable, even if the run resumes alone
    seconds = {} if trainer.training_s is None or shared else {TRAINING_S: trainer.training_s}
    training_state.save(
        trainer.output_dir,
        facts_of_run(trainer),
        finished,
        trainer._models,
        trainer._optims,
        trainer._scheds,
        trainer.best_result,
        {**trainer.extra_state(), **seconds, BEGAN_FROM: trainer.began_from, IMAGES_STATE: images.state()},
    )


def _count_time(trainer: Any) -> None:
    """Add the time since the last call to the duration of the training, if this duration is known."""
    now_s = time.perf_counter()
    if trainer.training_s is not None:
        trainer.training_s += now_s - trainer.began_s
    trainer.began_s = now_s


def end(trainer: Any) -> None:
    """Test the last model or the best model, and remove the training state."""
    print("Finish training\nFinished training")  # CoOp's log parser waits for the first line, MaPLe's for the second
    if not trainer.cfg.TEST.NO_TEST:
        trainer.deploy()
        trainer.test()
    if trainer.images_changed:
        print(
            f"Warning: {CHANGED_DURING}, so the results cannot be reproduced. The result is marked as not "
            "reproducible, and neither --once nor an experiment accepts it. Train again with a different "
            f"--output-dir{run_folder.or_delete(trainer.cfg.OUTPUT_DIR)}."
        )
    if not trainer.keeps_state:
        training_state.remove(trainer.output_dir)
    print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - trainer.time_start))}")
