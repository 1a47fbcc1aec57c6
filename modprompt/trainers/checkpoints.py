"""Saving and loading the checkpoints of a trainer, which contain what is learned, without CLIP."""

import numbers
import os
import warnings
from typing import Any

from modprompt.data.selection import selected_on
from modprompt.errors import UserError
from modprompt.io import program_words
from modprompt.io import result as results
from modprompt.io.checkpoint import BEST, CHOICE, find_checkpoint, newest_checkpoint, require_best
from modprompt.io.files import copy_whole, sha256_of
from modprompt.io.identity import BEGAN_FROM, SENTENCES
from modprompt.io.records import KEY
from modprompt.methods.parts.learners import trained_classes
from modprompt.methods.records import count_classes, describe, load_learner, require_own_classes
from modprompt.trainers import run_folder
from modprompt.trainers.run_facts import facts_of_run, made_with, method_record


def _run_record(trainer: Any) -> dict[str, Any]:
    """Return the entries of a checkpoint about the run that writes it."""
    chosen = selected_on(trainer.dm.dataset, trainer.cfg)
    return {
        "settings": facts_of_run(trainer),
        **({"selected_on": chosen} if chosen else {}),
        **({BEGAN_FROM: trainer.began_from} if trainer.began_from else {}),
        **({results.IMAGES_CHANGED: results.CHANGED_DURING} if trainer.images_changed else {}),
        **trainer.selection(),
    }


def save(
    trainer: Any,
    epoch: int,
    directory: str,
    is_best: bool = False,
    val_result: float | None = None,
    model_name: str = "",
) -> None:
    """Save a checkpoint with the learned parameters and a description of the model.

    Args:
        trainer: the trainer.
        epoch: the epoch, from 0.
        directory: the output folder of the run.
        is_best: write also model-best.pth.tar.
        val_result: the validation result of the epoch.
        model_name: the name of the file; empty for the name with the number of the epoch.

    Raises:
        FloatingPointError: if a loss that was not read before is not finite; nothing is saved then.
    """
    trainer.unread.check()
    model = trainer.model
    for name in trainer.get_model_names():
        record = describe(
            method_record(trainer), model.classes, model.clip_facts, model.prompt_learner, _run_record(trainer)
        )
        state = {
            "state_dict": trainer._models[name].state_dict(),
            "epoch": epoch + 1,
            "val_result": None if val_result is None else float(val_result),
            KEY: record,
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


def load_newest(trainer: Any, directory: str) -> int:
    """Load the newest checkpoint in an output folder; raise UserError if its settings differ from those of this run.

    Returns:
        The number of finished epochs; 0 if there is no checkpoint.
    """
    epoch = 0
    for name in trainer.get_model_names():
        folder = os.path.join(directory, name)
        if not os.path.isfile(os.path.join(folder, "checkpoint")):
            print("No checkpoint found, train from scratch")
            return 0
        path = newest_checkpoint(folder)
        epoch = trainer.load_file(trainer._models[name], path)
        if epoch < trainer.max_epoch:
            print(f"Found checkpoint {path}. The training continues after epoch {epoch} with a new optimizer.")
        else:
            print(f"Found checkpoint {path} of the last epoch.")
        trainer.skip_epochs(name, epoch)
    return epoch


def load(trainer: Any, directory: str | None, *more: Any, epoch: int | None = None, **kwargs: Any) -> None:
    """Load a checkpoint of this trainer or of the original repository from the output folder of a run.

    Args:
        trainer: the trainer.
        directory: the output folder of a run. If it is missing, nothing is loaded and a message says so, as in Dassl.
        more: the epoch, as a positional argument; further arguments of some codebases are ignored.
        epoch: the epoch of the checkpoint; None loads model-best.pth.tar, or the newest checkpoint if that is missing.
        kwargs: load_epoch, another name of `epoch`; further arguments are ignored.

    Raises:
        UserError: if there is no such checkpoint or it does not fit.
    """
    if not directory:
        print("note: load_model() was called without a directory (--model-dir), so no checkpoint is loaded.")
        trainer.loaded_path = ""
        return
    epoch = _epoch_of(epoch, kwargs.get("load_epoch"), *more)
    for name in trainer.get_model_names():
        path = run_folder.kept_checkpoint(directory, name, epoch)
        if path:
            print(
                f"note: the directory {os.path.join(directory, name)} was deleted. The copy of its checkpoint, "
                f"{path}, is loaded instead."
            )
        else:
            path = find_checkpoint(os.path.join(directory, name), epoch)
        if epoch is None:
            require_best(path, best=bool(trainer.best_on))
        found = trainer.load_file(trainer._models[name], path)
        _record_training_classes(trainer)
        trainer.loaded_path = path
        print(f'Loading weights to {name} from "{path}" (epoch = {found})')


def _epoch_of(*given: Any) -> int | None:
    """Return the epoch among the arguments of a call, or None if no argument is a number."""
    for one in given:
        is_number = isinstance(one, numbers.Real) and not isinstance(one, bool) and float(one).is_integer()
        if is_number or (isinstance(one, str) and one.strip().isdecimal()):
            return int(one)
    return None


def load_for_test(trainer: Any) -> None:
    """Load the checkpoint in --model-dir for programs that do not call load_model before a test, such as PLOT++."""
    if trainer.loaded_path is not None or not program_words.only_tests() or trainer.cfg.MODEL.INIT_WEIGHTS:
        return
    directory, epoch = program_words.user_words().model_to_test()
    if directory:
        print(
            "note: this program did not load the checkpoint in --model-dir before the test, so modprompt loads it now."
        )
    load(trainer, directory, epoch=epoch)


def load_initial(trainer: Any, view: Any) -> None:
    """Load the initial parameters from the file MODEL.INIT_WEIGHTS."""
    path = trainer.cfg.MODEL.INIT_WEIGHTS
    trainer.load_file(view, path)
    if trainer.cfg.TEST.ONLY:
        _record_training_classes(trainer)
    else:
        _require_same_classes(trainer, path)
    trainer.initial_hash = sha256_of(path)
    print(f"Loaded the initial weights from {path}")


def _require_same_classes(trainer: Any, path: str) -> None:
    """Raise UserError if the classifier in a checkpoint has other classes; warn if its classes are unknown."""
    model, trained = trainer.model, trainer.loaded.trained_on
    head = model.prompt_learner.joint_head
    if head is None or not head.has_rows or trained == model.classes.names:
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


def _record_training_classes(trainer: Any) -> None:
    """Store in the tested model which classes it was trained on, and print a note if the test has other classes."""
    loaded, model = trainer.loaded, trainer.model
    model.prompt_learner.learned_on(trained_classes(loaded))
    stated, sentences = loaded.record.get("method", {}), model.prompt_learner.stands_on().get(SENTENCES)
    same_data = loaded.record.get("classes", {}).get("dataset") == trainer.cfg.DATASET.NAME
    if same_data and sentences and stated.get(SENTENCES, sentences) != sentences:
        print("note: this test uses different class descriptions than the training run.")
    note = model.said_of(model.classes.names)
    if note:
        print(f"note: {note}")
        trainer.notes = [*trainer.notes, note]


def load_file(trainer: Any, view: Any, path: str) -> int:
    """Load a checkpoint into a CheckpointView; return the number of finished epochs."""
    loaded, names = load_learner(view, path, made_with(trainer)), trainer.dm.dataset.classnames
    classes = count_classes(loaded.state_dict)
    if classes:
        print(
            f"The class tokens of the {classes} classes in {path} are ignored. The prompts use the {len(names)} "
            "class names of this run."
        )
    if view.learner.bound:
        require_own_classes(loaded, names, path)
    trainer.loaded = loaded
    return loaded.epoch


def selection_of_loaded(trainer: Any) -> dict[str, Any]:
    """Return the entries of the loaded checkpoint on the images of its selection, or {} if it has none."""
    record = trainer.loaded.record.get("run", {}) if trainer.loaded is not None else {}
    return {key: record[key] for key in CHOICE if key in record}
